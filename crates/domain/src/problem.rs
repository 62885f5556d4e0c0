//! RFC 9457 problem details for denials and faults. This module alone decides the HTTP status of
//! each.
//!
//! A problem shows public text only; it never contains a fault's internal cause.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::denial::{Denial, Fault, FaultKind, LimitScope};
use crate::filter::Malformed;
use crate::id::UsageId;
use crate::key::KeyDenial;
use crate::ledger_host::NOTICE;
use crate::time::secs_ceil;

/// The base of every problem's type.
pub const TYPE_BASE: &str = "https://driftlock.net/problems/";

/// A problem as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The last segment of `type`.
    pub code: Cow<'static, str>,
    /// A short summary, the same for every occurrence.
    pub title: &'static str,
    /// What is wrong with this request, and what would be right.
    pub detail: Cow<'static, str>,
    /// After how long trying again may help.
    pub retry_after: Option<Duration>,
    /// The methods of a 405.
    pub allow: Option<String>,
    /// The receipt of the earlier request that this one repeats.
    pub receipt: Option<UsageId>,
}

impl Problem {
    /// A problem of this status, code and text.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (code, detail) = (Cow::Borrowed(code), detail.into());
        Self { status, code, title, detail, retry_after: None, allow: None, receipt: None }
    }

    /// The same problem with a `Retry-After` of `wait`.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The response; `instance` is the request's id.
    #[must_use]
    pub fn response(&self, instance: &str) -> Response<Bytes> {
        let mut body = json!({
            "type": format!("{TYPE_BASE}{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "instance": instance,
        });
        if let Some(receipt) = self.receipt {
            body["receipt"] = receipt.to_string().into();
        }
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs_ceil(wait).max(1)));
        }
        if let Some(allow) = self.allow.as_deref().and_then(|list| HeaderValue::from_str(list).ok())
        {
            headers.insert(ALLOW, allow);
        }
        if self.code == "malformed-request" {
            // The bytes after a malformed request may be part of a request smuggling attack.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<&Denial> for Problem {
    fn from(denial: &Denial) -> Self {
        let code = denial.code();
        match denial {
            Denial::Malformed(malformed) => Self::new(
                malformed_status(malformed),
                code,
                "The request is malformed",
                malformed.to_string(),
            ),
            Denial::Path(path) => Self::new(
                StatusCode::BAD_REQUEST,
                code,
                "The request is malformed",
                path.to_string(),
            ),
            Denial::ClientAborted => Self::new(
                StatusCode::BAD_REQUEST,
                code,
                "The request is malformed",
                "The request's body ended before it was complete.",
            ),
            Denial::HostUnknown => Self::new(
                StatusCode::MISDIRECTED_REQUEST,
                code,
                "The Host is not a name of this listener",
                "Send a Host header with the listener's IP address, localhost, or a name in \
                 `admin.hosts`.",
            ),
            Denial::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                code,
                "There is no such resource",
                "No route matches this path.",
            ),
            Denial::MethodNotAllowed(methods) => {
                let allow = methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ");
                let mut problem = Self::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    code,
                    "The method is not allowed here",
                    format!("This path supports {allow}."),
                );
                problem.allow = Some(allow);
                problem
            }
            Denial::KeyMalformed(_) | Denial::KeyUnknown => Self::new(
                StatusCode::UNAUTHORIZED,
                code,
                "A valid API key is needed",
                "Send your API key as `Authorization: Bearer dlk_…`. No valid key was sent.",
            ),
            Denial::AdminToken => Self::new(
                StatusCode::UNAUTHORIZED,
                code,
                "A valid admin token is needed",
                "Send the admin token as `Authorization: Bearer …`.",
            ),
            Denial::Key(denial) => key_problem(*denial),
            Denial::NotEntitled(reason) => Self::new(
                StatusCode::PAYMENT_REQUIRED,
                code,
                "The subscription is inactive",
                format!("Requests are refused: {reason}. They are accepted once this is resolved."),
            ),
            Denial::RateLimited { .. } | Denial::QuotaExceeded { .. } | Denial::QuotaHeld => {
                too_many(denial)
            }
            Denial::IdempotencyMalformed(_)
            | Denial::IdempotencyInFlight(_)
            | Denial::IdempotencyMismatch
            | Denial::IdempotencyAnswerNotKept(_) => idempotency(denial),
            Denial::AddressRefused | Denial::UserAgentRefused => Self::new(
                StatusCode::FORBIDDEN,
                code,
                "The request is refused",
                "Requests from this address, or of this kind of client, are refused.",
            ),
            Denial::OriginNotAllowed => Self::new(
                StatusCode::FORBIDDEN,
                code,
                "The origin is not allowed",
                "Web pages of this origin may not call this API.",
            ),
            Denial::ContentType(kinds) => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                code,
                "The body's type is not supported here",
                format!("Send a body with a Content-Type of {}.", kinds.join(" or ")),
            ),
            Denial::BodyTooLarge(max) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                code,
                "The body is too large",
                format!("This route accepts a body of at most {max} bytes."),
            ),
            Denial::ClientTimeout => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                code,
                "The request took too long to arrive",
                "The request was not complete in time.",
            ),
        }
    }
}

fn key_problem(denial: KeyDenial) -> Problem {
    let code = denial.code();
    match denial {
        KeyDenial::Revoked | KeyDenial::Expired => Problem::new(
            StatusCode::UNAUTHORIZED,
            code,
            "A valid API key is needed",
            "This API key is no longer valid: it was revoked, or it expired.",
        ),
        KeyDenial::AddressNotAllowed => Problem::new(
            StatusCode::FORBIDDEN,
            code,
            "The key may not be used from this address",
            "This API key may only be used from certain addresses; yours is not one of them.",
        ),
        KeyDenial::ScopeMissing => Problem::new(
            StatusCode::FORBIDDEN,
            code,
            "The key's scopes do not allow this",
            "This API key lacks the scope that the route requires.",
        ),
    }
}

fn too_many(denial: &Denial) -> Problem {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let code = denial.code();
    match denial {
        Denial::QuotaExceeded { wait } => Problem::new(
            status,
            code,
            "The quota is used up",
            "The units of this billing period are used up. The quota resets when the next period \
             begins; a larger plan or cap takes effect sooner.",
        )
        .after(*wait),
        Denial::RateLimited { scope, wait } => Problem::new(
            status,
            code,
            "Too many requests",
            match scope {
                LimitScope::Key => "This API key's requests per minute are used up.",
                LimitScope::Organization => "The organization's requests per minute are used up.",
                LimitScope::Address => "Too many requests from this address.",
            },
        )
        .after(*wait),
        _ => Problem::new(
            status,
            code,
            "Remaining quota is reserved by other requests",
            "Requests in progress hold the last units of this billing period. A request that fails \
             returns its units, so trying again may succeed.",
        )
        .after(Duration::from_secs(1)),
    }
}

fn idempotency(denial: &Denial) -> Problem {
    let code = denial.code();
    match denial {
        Denial::IdempotencyInFlight(_) => Problem::new(
            StatusCode::CONFLICT,
            code,
            "A request with this idempotency key is in progress",
            "Wait until the first request with this Idempotency-Key has finished, then repeat this \
             one: the first response will be replayed.",
        )
        .after(Duration::from_secs(1)),
        Denial::IdempotencyMismatch => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code,
            "The idempotency key was used for another request",
            "This Idempotency-Key belongs to a request with another target, body or header. Use a \
             new key, or repeat the first request unchanged.",
        ),
        Denial::IdempotencyAnswerNotKept(usage) => {
            let detail = format!(
                "The first request with this Idempotency-Key succeeded and was charged once, under \
                 the receipt {usage}. Its response was too large to store, took too long or was a \
                 stream, so it cannot be replayed. This time nothing was sent to the backend and \
                 nothing was charged. To send the request again, use a new Idempotency-Key."
            );
            let title = "The first response was not stored";
            Problem {
                receipt: Some(*usage),
                ..Problem::new(StatusCode::CONFLICT, code, title, detail)
            }
        }
        other => Problem::new(
            StatusCode::BAD_REQUEST,
            code,
            "The idempotency key is malformed",
            other.to_string(),
        ),
    }
}

fn malformed_status(malformed: &Malformed) -> StatusCode {
    match malformed {
        Malformed::TooManyHeaders | Malformed::HeadersTooLarge => {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        }
        Malformed::TargetTooLong => StatusCode::URI_TOO_LONG,
        Malformed::Method => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl From<&Fault> for Problem {
    fn from(fault: &Fault) -> Self {
        let code = fault.code();
        match fault.kind {
            FaultKind::Store => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                code,
                "The gateway cannot reach its store",
                "Nothing was charged. Try again shortly.",
            )
            .after(Duration::from_secs(1)),
            FaultKind::Conflict => Self::new(
                StatusCode::CONFLICT,
                code,
                "The resource's state does not allow this",
                "The resource exists already, or another request changed it meanwhile. Read it \
                 again before you repeat the request.",
            ),
            FaultKind::WrongLedgerHost => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                code,
                "Another kind of host meters this organization",
                "Send metered requests to the other kind of host (native nodes or Workers). \
                 Nothing was charged.",
            )
            .after(NOTICE),
            FaultKind::Overloaded => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                code,
                "The gateway is overloaded",
                "Nothing was charged. Try again shortly.",
            )
            .after(Duration::from_secs(1)),
            FaultKind::BackendUnreachable => Self::new(
                StatusCode::BAD_GATEWAY,
                code,
                "The backend is unreachable",
                "The backend could not be reached, or closed the connection. Nothing was charged.",
            ),
            FaultKind::BackendBroken => Self::new(
                StatusCode::BAD_GATEWAY,
                code,
                "The backend's response is invalid",
                "The backend's response is not valid HTTP. Nothing was charged.",
            ),
            FaultKind::BackendTimeout => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                code,
                "The backend took too long",
                "The backend did not answer in time. Nothing was charged.",
            ),
            FaultKind::StoreRefused | FaultKind::Internal => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                code,
                "Internal error of the gateway",
                "The error is in the gateway, not in the request. Report the id in `instance` to the \
                 operator of this API.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_denial_has_its_status_type_and_retry_after() {
        let problem = Problem::from(&Denial::QuotaExceeded { wait: Duration::from_millis(1_500) });
        let response = problem.response("req-1");
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "2");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["type"], "https://driftlock.net/problems/quota-exceeded");
        assert_eq!(body["instance"], "req-1");
        assert_eq!(body["status"], 429);
    }

    #[test]
    fn a_response_that_was_not_stored_is_named_by_its_receipt() {
        let usage = UsageId::from_bytes([1; 16]);
        let response = Problem::from(&Denial::IdempotencyAnswerNotKept(usage)).response("r");
        assert_eq!(response.status(), 409);
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["type"], "https://driftlock.net/problems/idempotency-answer-not-kept");
        assert_eq!(body["receipt"], usage.to_string());
        assert!(!response.headers().contains_key("retry-after"), "it would be refused again");
    }

    #[test]
    fn a_faults_cause_is_never_shown() {
        let fault = Fault::store("postgres://user:hunter2@db");
        let response = Problem::from(&fault).response("req-1");
        assert_eq!(response.status(), 503);
        assert!(!String::from_utf8_lossy(response.body()).contains("hunter2"));
    }

    #[test]
    fn a_405_names_what_is_allowed() {
        let denial = Denial::MethodNotAllowed(vec![http::Method::GET, http::Method::PUT]);
        let response = Problem::from(&denial).response("r");
        assert_eq!(response.headers()["allow"], "GET, PUT");
    }
}
