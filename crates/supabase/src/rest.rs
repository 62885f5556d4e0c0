//! One function's call over HTTP.

use std::sync::Arc;

use bytes::Bytes;
use driftlock_domain::denial::Fault;
use driftlock_gateway::ports::HttpClient;
use driftlock_postgres_core::{Call, Effect, effect};
use http::{Method, Request};
use serde_json::{Value, json};

use crate::access::Access;
use crate::answer::{Failed, read};

/// How often what changes nothing, or changes it once however often it is asked for, is tried.
const TRIES_MAX: usize = 2;

/// The way to a project's functions.
#[derive(Debug, Clone)]
pub struct Rest<H> {
    http: H,
    access: Arc<Access>,
}

impl<H: HttpClient> Rest<H> {
    /// A way by this client.
    pub const fn new(http: H, access: Arc<Access>) -> Self {
        Self { http, access }
    }

    async fn once(&self, function: &str, body: Bytes) -> Result<Value, Failed> {
        let answer = self.http.call(self.request(function, body).map_err(Failed::Final)?).await;
        let answer = answer.map_err(|error| {
            Failed::Transient(Fault::store(format!("Supabase does not answer {function}: {error}")))
        })?;
        read(function, answer.status(), answer.body())
    }

    fn request(&self, function: &str, body: Bytes) -> Result<Request<Bytes>, Fault> {
        let uri = format!("{}/rest/v1/rpc/{function}", self.access.base());
        let mut request =
            Request::builder().method(Method::POST).uri(uri).body(body).map_err(Fault::store)?;
        request.headers_mut().clone_from(self.access.headers());
        Ok(request)
    }
}

impl<H: HttpClient> Call for Rest<H> {
    async fn call(&self, function: &'static str, args: Value) -> Result<Value, Fault> {
        let body: Bytes = json!({ "args": args }).to_string().into();
        let tries = if effect(function) == Effect::Repeatable { TRIES_MAX } else { 1 };
        for _ in 1..tries {
            match self.once(function, body.clone()).await {
                Err(Failed::Transient(_)) => {}
                answered => return answered.map_err(Failed::fault),
            }
        }
        self.once(function, body).await.map_err(Failed::fault)
    }
}
