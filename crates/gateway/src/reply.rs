//! Answers that the gateway makes, not the backend.

use bytes::Bytes;
use driftlock_domain::denial::{Denial, Fault, FaultKind};
use driftlock_domain::headers::write_limits;
use driftlock_domain::problem::Problem;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::gateway::{RequestId, ResponseBody};
use crate::ports::{Platform, Refusal, Upstream};

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial, None)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The answer to a refused request. A fault is logged here, and only here.
pub(crate) fn refusal<P: Platform>(refusal: &Refusal, id: &RequestId) -> Response<ResponseBody<P>> {
    let (problem, limits) = match refusal {
        Refusal::Denied(denial, limits) => (Problem::from(denial), *limits),
        Refusal::Fault(fault) => {
            log(fault, id);
            (Problem::from(fault), None)
        }
    };
    let mut response = problem.response(&id.text);
    if let Some(limits) = limits {
        write_limits(response.headers_mut(), &limits);
    }
    response.map(P::Upstream::response_body)
}

/// An answer with a problem document.
pub(crate) fn problem<P: Platform>(problem: &Problem, id: &RequestId) -> Response<ResponseBody<P>> {
    problem.response(&id.text).map(P::Upstream::response_body)
}

/// A JSON answer.
pub(crate) fn json<P: Platform>(
    status: StatusCode,
    value: &impl Serialize,
) -> Result<Response<ResponseBody<P>>, Fault> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))?;
    let mut response = Response::new(P::Upstream::response_body(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn log(fault: &Fault, id: &RequestId) {
    let (request_id, code, error) = (&*id.text, fault.code(), &*fault.cause);
    match fault.kind {
        FaultKind::Internal | FaultKind::Store | FaultKind::StoreRefused => {
            tracing::error!(request_id, code, error, "a request failed");
        }
        FaultKind::Conflict
        | FaultKind::BackendUnreachable
        | FaultKind::BackendBroken
        | FaultKind::BackendTimeout
        | FaultKind::WrongLedgerHost
        | FaultKind::Overloaded => tracing::warn!(request_id, code, error, "a request failed"),
    }
}
