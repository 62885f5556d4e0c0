//! A blocking HTTP client for tests.

use std::time::Duration;

use bytes::Bytes;
use driftlock_gateway::ports::{HttpClient, NoAnswer};
use http::{Request, Response};
use ureq::Agent;

const TIMEOUT: Duration = Duration::from_secs(30);

/// See the module; clones share their connections.
#[derive(Debug, Clone)]
pub struct BlockingHttp(Agent);

impl Default for BlockingHttp {
    fn default() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self(config.into())
    }
}

impl HttpClient for BlockingHttp {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let failed = |error: ureq::Error| NoAnswer(error.to_string());
        let (head, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(head, &body[..])).map_err(failed)?;
        let (head, mut body) = answer.into_parts();
        let body = body.read_to_vec().map_err(failed)?;
        Ok(Response::from_parts(head, body.into()))
    }
}
