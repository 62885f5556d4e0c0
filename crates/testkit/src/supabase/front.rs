//! A double of the gateway in front of a Supabase project's PostgREST: it checks paths and API
//! keys. <https://supabase.com/docs/guides/api/api-keys>

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use ureq::Agent;

use super::{PUBLISHABLE_KEY, SECRET_KEY};
use crate::jwt;
use crate::serving::{Serving, status};

/// The number of idle connections to PostgREST.
const IDLE_MAX: usize = 16;
/// The path where tests in other languages get the list of received requests.
const SEEN: &str = "/requests";

pub(super) struct Front {
    serving: Serving,
    requests: Arc<Mutex<Vec<String>>>,
    agent: Agent,
    port: u16,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Front {
    pub(super) fn start(port: u16) -> Self {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(IDLE_MAX)
            .max_idle_connections_per_host(IDLE_MAX)
            .build()
            .into();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, to) = (Arc::clone(&requests), agent.clone());
        let serving = Serving::start(move |request| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let path = request.uri().to_string();
            if path == SEEN {
                return Response::new(serde_json::json!(*seen).to_string().into());
            }
            seen.push(path);
            drop(seen);
            pass(&request, &to, port)
        });
        Self { serving, requests, agent, port }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.serving.address())
    }

    /// The URL of PostgREST itself.
    pub(super) fn postgrest(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether PostgREST has loaded its schema.
    pub(super) fn is_ready(&self) -> bool {
        let root = self.agent.get(format!("http://127.0.0.1:{}/", self.port)).call();
        root.is_ok_and(|answer| answer.status() == 200)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn pass(request: &Request<Bytes>, agent: &Agent, port: u16) -> Response<Bytes> {
    match authorization(request.headers()) {
        Ok(token) => forward(request, &token, agent, port),
        Err(message) => {
            let body = serde_json::json!({ "message": message, "hint": null }).to_string();
            status(401).map(|_| body.into())
        }
    }
}

/// The token for PostgREST: a key of the newer kind is replaced by a token of its role.
fn authorization(headers: &HeaderMap) -> Result<String, &'static str> {
    let Some(key) = text(headers, "apikey") else { return Err("No API key found in request") };
    let browser = text(headers, "user-agent").is_some_and(|agent| agent.contains("Mozilla"));
    if key == SECRET_KEY && browser {
        return Err("Forbidden use of secret API key in browser");
    }
    let bearer = text(headers, "authorization").and_then(|text| text.strip_prefix("Bearer "));
    let role = match key {
        SECRET_KEY => "service_role",
        PUBLISHABLE_KEY => "anon",
        _ => return bearer.map(str::to_owned).ok_or("Invalid API key"),
    };
    match bearer {
        Some(token) if token != key => Ok(token.to_owned()),
        _ => Ok(jwt::of_role(role)),
    }
}

fn forward(request: &Request<Bytes>, token: &str, agent: &Agent, port: u16) -> Response<Bytes> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Some(path) = path.strip_prefix("/rest/v1") else { return status(404) };
    let mut sent = Request::builder()
        .method(request.method())
        .uri(format!("http://127.0.0.1:{port}{path}"))
        .header("authorization", format!("Bearer {token}"));
    for name in ["content-type", "accept", "prefer", "range", "content-profile", "accept-profile"] {
        if let Some(value) = request.headers().get(name) {
            sent = sent.header(name, value);
        }
    }
    let Ok(sent) = sent.body(&request.body()[..]) else { return status(400) };
    match agent.run(sent) {
        Ok(mut answer) => {
            let kind: Option<HeaderValue> = answer.headers().get(header::CONTENT_TYPE).cloned();
            let body = answer.body_mut().read_to_vec().unwrap_or_default();
            let mut passed = status(answer.status().as_u16()).map(|_| Bytes::from(body));
            passed.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
            passed
        }
        Err(_) => status(503),
    }
}
