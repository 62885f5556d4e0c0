//! Calls a function over HTTP.

use std::sync::Arc;

use bytes::Bytes;
use driftlock_domain::denial::Fault;
use driftlock_gateway::ports::HttpClient;
use driftlock_postgres_core::{Call, Effect, effect};
use http::{Method, Request};
use serde_json::{Value, json};

use crate::access::Access;
use crate::answer::{Failed, read};

/// The number of attempts for a read-only or idempotent call.
const TRIES_MAX: usize = 2;

/// A client of a project's functions.
#[derive(Debug, Clone)]
pub struct RestClient<H> {
    http: H,
    access: Arc<Access>,
}

impl<H: HttpClient> RestClient<H> {
    /// A client of a project's functions over this HTTP client.
    pub const fn new(http: H, access: Arc<Access>) -> Self {
        Self { http, access }
    }

    /// A client of the same project over another HTTP client.
    pub fn over<O: HttpClient>(&self, http: O) -> RestClient<O> {
        RestClient::new(http, Arc::clone(&self.access))
    }

    async fn once(&self, function: &str, body: Bytes) -> Result<Value, Failed> {
        let answer = self.http.call(self.request(function, body).map_err(Failed::Final)?).await;
        let answer = answer.map_err(|error| {
            Failed::Transient(Fault::store(format!("request to Supabase ({function}): {error}")))
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

impl<H: HttpClient> Call for RestClient<H> {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use driftlock_gateway::ports::NoAnswer;
    use futures_executor::block_on;
    use http::Response;

    use super::*;

    /// Gives the same response to every request, and counts the requests.
    #[derive(Debug, Clone)]
    struct Always {
        status: Option<u16>,
        asked: Rc<Cell<usize>>,
    }

    impl HttpClient for Always {
        async fn call(&self, _request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
            self.asked.set(self.asked.get() + 1);
            let status = self.status.ok_or_else(|| NoAnswer("silence".to_owned()))?;
            Ok(Response::builder().status(status).body(Bytes::new()).expect("an answer"))
        }
    }

    fn tries(function: &'static str, status: Option<u16>) -> usize {
        let access = Access::new("https://a.supabase.co", "sb_secret_abc").expect("both are right");
        let always = Always { status, asked: Rc::default() };
        let rest = RestClient::new(always.clone(), Arc::new(access));
        let answer = block_on(rest.call(function, json!({})));
        assert_eq!(answer.is_ok(), status == Some(204));
        always.asked.get()
    }

    #[test]
    fn only_idempotent_calls_are_retried_and_only_after_transient_failures() {
        for transient in [None, Some(503), Some(502), Some(429)] {
            assert_eq!(tries("driftlock_settle", transient), TRIES_MAX, "{transient:?}");
            assert_eq!(tries("driftlock_create_key", transient), 1, "{transient:?}");
            assert_eq!(tries("driftlock_take_report", transient), 1, "{transient:?}");
        }
        for definite in [Some(204), Some(400), Some(401), Some(404)] {
            assert_eq!(tries("driftlock_settle", definite), 1, "{definite:?}");
        }
    }
}
