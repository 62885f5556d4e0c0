//! The gateway under test, and the requests that go to it.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

use crate::answer::Answer;

/// Bound of one answer.
pub const PATIENCE: Duration = Duration::from_secs(60);
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Where the gateway is, and who administers it.
#[derive(Clone)]
pub struct Target {
    /// Scheme, host and port, without a trailing slash.
    pub base_url: String,
    /// The token of the admin API.
    pub admin_token: String,
    webhook_secret: Option<String>,
    agent: Agent,
}

impl Target {
    /// A gateway at this URL with this admin token.
    #[must_use]
    pub fn new(base_url: &str, admin_token: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections_per_host(64)
            .timeout_global(Some(PATIENCE))
            .user_agent("driftlock-e2e")
            .build();
        Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            admin_token: admin_token.to_owned(),
            webhook_secret: None,
            agent: Agent::new_with_config(config),
        }
    }

    /// The same gateway, for which Stripe's deliveries are signed with this secret.
    #[must_use]
    pub fn with_webhook_secret(self, secret: &str) -> Self {
        Self { webhook_secret: Some(secret.to_owned()), ..self }
    }

    /// The secret that signs Stripe's deliveries.
    ///
    /// # Panics
    /// When it was not given.
    #[must_use]
    pub fn webhook_secret(&self) -> &str {
        let secret = self.webhook_secret.as_deref();
        secret
            .expect("the webhook secret: give --webhook-secret-file, or ENV_STRIPE_WEBHOOK_SECRET")
    }

    /// Host and port, for [`crate::raw`].
    #[must_use]
    pub fn authority(&self) -> &str {
        self.base_url.split_once("://").map_or(self.base_url.as_str(), |(_, rest)| rest)
    }

    /// Begins a request without a key.
    pub fn request(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            target: self,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Begins a request with an API key.
    pub fn keyed(&self, method: &str, path: &str, key: &str) -> Call<'_> {
        self.request(method, path).header("authorization", &format!("Bearer {key}"))
    }

    /// Begins a request with the admin token, below `/admin/v1`.
    pub fn admin(&self, method: &str, path: &str) -> Call<'_> {
        self.keyed(method, &format!("/admin/v1{path}"), &self.admin_token)
    }
}

/// A request in the making.
#[must_use]
pub struct Call<'a> {
    target: &'a Target,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call<'_> {
    /// Adds a header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.bytes("application/json", body.to_string().into_bytes())
    }

    /// A body of this content type.
    pub fn bytes(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.body = body;
        self.header("content-type", content_type)
    }

    /// Sends it and reads the answer to its end.
    ///
    /// # Panics
    /// When the gateway does not answer HTTP.
    #[must_use]
    pub fn send(self) -> Answer {
        let (method, path) = (self.method.clone(), self.path.clone());
        let response = self.open();
        let status = response.status().as_u16();
        let headers = headers(&response);
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(BODY_BYTES_MAX);
        if let Err(error) = reader.read_to_end(&mut body) {
            panic!("{method} {path}: the body broke off: {error}");
        }
        Answer { status, headers, body }
    }

    /// Sends it and leaves the body unread, for event streams.
    ///
    /// # Panics
    /// When the gateway does not answer HTTP.
    #[must_use]
    pub fn open(self) -> Response<Body> {
        let Self { target, method, path, headers, body } = self;
        let mut builder =
            Request::builder().method(method.as_str()).uri(format!("{}{path}", target.base_url));
        for (name, value) in &headers {
            builder = builder.header(name, value);
        }
        // Only a request with a body has framing headers, as with ordinary clients.
        let sent = if body.is_empty() && matches!(method.as_str(), "GET" | "HEAD" | "DELETE") {
            builder
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| target.agent.run(request))
        } else {
            builder
                .body(body)
                .map_err(ureq::Error::from)
                .and_then(|request| target.agent.run(request))
        };
        sent.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

/// Header lines in order, names in lower case.
#[must_use]
pub fn headers(response: &Response<Body>) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = response.headers().iter();
    lines.map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect()
}
