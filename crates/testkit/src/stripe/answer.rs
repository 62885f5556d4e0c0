//! Answers a request: checks the key, injects faults, and repeats earlier answers by idempotency
//! key.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::time::Timestamp;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{Fault, SECRET_KEY, State, routes};

/// How long an idempotency key is kept.
const KEY_LIFE: Duration = Duration::from_secs(86_400);

/// The answer that was given under an idempotency key.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    at: Timestamp,
    sent: Bytes,
    status: StatusCode,
    body: Value,
}

/// Why a call has no effect.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn bad(message: String) -> Self {
        let kind = "invalid_request_error";
        Self { status: StatusCode::BAD_REQUEST, kind, code: None, message }
    }

    pub(super) fn missing(name: &str) -> Self {
        let code = Some("parameter_missing");
        Self { code, ..Self::bad(format!("Missing required param: {name}.")) }
    }

    pub(super) fn unknown(what: &str, id: &str) -> Self {
        let message = format!("No such {what}: '{id}'");
        let code = Some("resource_missing");
        Self { status: StatusCode::NOT_FOUND, code, ..Self::bad(message) }
    }

    fn body(&self) -> Value {
        json!({ "error": { "type": self.kind, "code": self.code, "message": self.message } })
    }
}

/// A list with all its rows.
pub(super) fn list(url: &str, rows: Vec<Value>) -> Value {
    json!({ "object": "list", "data": rows, "has_more": false, "url": url })
}

pub(super) fn answer(state: &mut State, request: &Request<Bytes>) -> Option<Response<Bytes>> {
    let now = (state.clock)();
    state.calls.push(format!("{} {}", request.method(), request.uri().path()));
    if state.outage.is_some_and(|outage| outage.contains(now)) {
        return None;
    }
    let authorized = request.headers().get("authorization").is_some_and(|value| {
        value.to_str().is_ok_and(|text| text == format!("Bearer {SECRET_KEY}"))
    });
    if !authorized {
        let message = "Invalid API Key provided".to_owned();
        let refused = Refused { status: StatusCode::UNAUTHORIZED, ..Refused::bad(message) };
        return Some(made(refused.status, &refused.body(), &[]));
    }
    let fault = state.faults.next();
    match fault {
        Some(Fault::BreakBefore) => return None,
        Some(Fault::Before(status)) => return Some(failed(status)),
        Some(Fault::After(_) | Fault::BreakAfter) | None => {}
    }
    let (status, body, replayed) = match once(state, request, now, fault) {
        Ok((status, body, replayed)) => (status, body, replayed),
        Err(refused) => (refused.status, refused.body(), false),
    };
    match fault {
        Some(Fault::BreakAfter) => None,
        Some(Fault::After(status)) if !replayed => Some(failed(status)),
        _ => {
            let replay = [("idempotent-replayed", "true")];
            Some(made(status, &body, if replayed { &replay } else { &[] }))
        }
    }
}

/// Executes a request, or repeats the earlier answer under the same idempotency key. If a fault
/// came after the effect, the failure is kept as the answer.
fn once(
    state: &mut State,
    request: &Request<Bytes>,
    now: Timestamp,
    fault: Option<Fault>,
) -> Result<(StatusCode, Value, bool), Refused> {
    let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok());
    if request.method() == Method::POST && key.is_none() {
        return Err(Refused::bad("the double requires an Idempotency-Key with every POST".into()));
    }
    let key = key.map(|key| format!("{} {key}", request.uri().path()));
    if let Some(kept) = key.as_ref().and_then(|key| state.answered.get(key))
        && now < kept.at.plus(KEY_LIFE)
    {
        if kept.sent != request.body() {
            let message = "Keys for idempotent requests can only be used with the same parameters \
                           they were first used with.";
            return Err(Refused { kind: "idempotency_error", ..Refused::bad(message.into()) });
        }
        return Ok((kept.status, kept.body.clone(), true));
    }
    let (status, body) = match routes::route(state, request, now) {
        Ok(body) => (StatusCode::OK, body),
        Err(refused) => (refused.status, refused.body()),
    };
    let answered = match fault {
        Some(Fault::After(status)) => StatusCode::from_u16(status).unwrap_or(status_500()),
        _ => status,
    };
    if let Some(key) = key {
        let sent = request.body().clone();
        state.answered.insert(key, Kept { at: now, sent, status: answered, body: body.clone() });
    }
    Ok((status, body, false))
}

const fn status_500() -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

fn failed(status: u16) -> Response<Bytes> {
    let body = json!({ "error": { "type": "api_error", "message": "The double fails." } });
    let status = StatusCode::from_u16(status).unwrap_or(status_500());
    let limited = [("retry-after", "1"), ("stripe-should-retry", "true")];
    made(status, &body, if status == StatusCode::TOO_MANY_REQUESTS { &limited } else { &[] })
}

fn made(status: StatusCode, body: &Value, headers: &[(&str, &str)]) -> Response<Bytes> {
    let mut response = Response::builder().status(status).header("request-id", "req_double");
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let response = response.header("content-type", "application/json");
    response.body(body.to_string().into()).expect("its headers are fixed")
}

/// The fields of a form or query.
pub(super) fn fields(text: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(text).into_owned().collect()
}
