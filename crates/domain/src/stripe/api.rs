//! Calls of Stripe's API as plain requests and answers: form-encoded, at a pinned version. The
//! hosts send them.
//!
//! A call that changes something carries an `Idempotency-Key` (`idempotency.rs`), so that repeating
//! it after a lost answer has no second effect.
//! <https://docs.stripe.com/api>

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use serde_json::Value;

use super::idempotency::{self, Series};
use super::meter::{Answer, Outcome, backoff};
use crate::mask::masked_forms;

/// The API version of our calls. Reading also accepts the shapes of older and newer versions.
pub const API_VERSION: &str = "2025-08-27.basil";
/// The base URL of the API.
pub const API_BASE: &str = "https://api.stripe.com";
const KEY_CHARS_MAX: usize = 255;

/// The base URL of Stripe's API, and the secret key.
#[derive(Clone)]
pub struct Access {
    base: String,
    authorization: HeaderValue,
}

/// A malformed secret key or base URL. The message never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAccess {
    /// The text is not a secret key.
    #[error("not a secret key; Stripe's secret keys begin with sk_ or rk_")]
    Key,
    /// The text is a publishable key.
    #[error("that is a publishable key; secret keys begin with sk_ or rk_")]
    Publishable,
    /// The text is not a base URL.
    #[error("not a base URL such as https://api.stripe.com")]
    Base,
}

/// One call to Stripe's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    method: Method,
    path: String,
    fields: Vec<(String, String)>,
    scope: String,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No answer came: whether the call had its effect is unknown.
    #[error("Stripe cannot be reached: {0}")]
    Unanswered(String),
    /// Stripe is overloaded or fails.
    #[error("Stripe answers {status}: {message}")]
    Transient {
        /// The status.
        status: u16,
        /// Stripe's message.
        message: String,
        /// The wait that Stripe asks for.
        after: Option<Duration>,
        /// Whether Stripe allows a repetition.
        again: bool,
    },
    /// Stripe refuses our secret key.
    #[error("Stripe refuses ENV_STRIPE_SECRET_KEY: {0}")]
    KeyRefused(String),
    /// The object does not exist.
    #[error("Stripe knows no such object: {0}")]
    Missing(String),
    /// The call is refused, and would be refused again.
    #[error("Stripe refuses the call with {status}: {message}")]
    Refused {
        /// The status.
        status: u16,
        /// Stripe's message.
        message: String,
    },
    /// The answer is not JSON, or lacks what was requested.
    #[error("Stripe's answer cannot be read: {0}")]
    Unreadable(String),
}

impl Access {
    /// Reads a secret key and the base URL of the API.
    ///
    /// # Errors
    /// [`MalformedAccess`] says what is wrong.
    pub fn new(key: &str, base: &str) -> Result<Self, MalformedAccess> {
        let key = key.trim();
        if key.starts_with("pk_") {
            return Err(MalformedAccess::Publishable);
        }
        let is_secret = key.starts_with("sk_") || key.starts_with("rk_");
        let plain = key.len() <= KEY_CHARS_MAX && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_secret || !plain {
            return Err(MalformedAccess::Key);
        }
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| MalformedAccess::Key)?;
        authorization.set_sensitive(true);
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_| MalformedAccess::Base)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        let is_base = is_http && uri.query().is_none();
        if is_base { Ok(Self { base, authorization }) } else { Err(MalformedAccess::Base) }
    }

    /// The request of a call, with its idempotency key of this series.
    ///
    /// # Errors
    /// [`ApiError::Refused`] if the path or a value cannot be sent; our own always can.
    pub fn request(&self, call: &Call, series: Series) -> Result<Request<Bytes>, ApiError> {
        let form =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(&call.fields).finish();
        let is_get = call.method == Method::GET;
        let query = if is_get && !form.is_empty() { format!("?{form}") } else { String::new() };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}{query}", self.base, call.path))
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header("stripe-version", API_VERSION);
        if !is_get {
            let kind = "application/x-www-form-urlencoded";
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(key) = call.idempotency_key(series) {
            request = request.header("idempotency-key", key);
        }
        let body = if is_get { Bytes::new() } else { form.into() };
        let malformed =
            |error: http::Error| ApiError::Refused { status: 0, message: error.to_string() };
        request.body(body).map_err(malformed)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Call {
    /// A call that reads an object or a list.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), fields: Vec::new(), scope: String::new() }
    }

    /// A call that creates or changes something. A repeated call has one effect; see
    /// [`Self::scoped`].
    pub fn post(path: impl Into<String>) -> Self {
        Self { method: Method::POST, path: path.into(), fields: Vec::new(), scope: String::new() }
    }

    /// Distinguishes this call from another one with the same fields, so that both have their
    /// effect.
    #[must_use]
    pub fn scoped(self, scope: impl Into<String>) -> Self {
        Self { scope: scope.into(), ..self }
    }

    /// Adds a field, in Stripe's notation (`metadata[organization]`).
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Adds a field if there is a value.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// The path, for the log.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The idempotency key; a call that only reads has none.
    #[must_use]
    pub fn idempotency_key(&self, series: Series) -> Option<String> {
        (self.method != Method::GET).then(|| idempotency::key(self, &self.scope, series))
    }
}

impl ApiError {
    /// The wait before the call is repeated after `attempts` failed attempts; `None` if it must not
    /// be repeated. `random` spreads the waits.
    #[must_use]
    pub fn again_after(&self, attempts: u32, random: u64) -> Option<Duration> {
        match self {
            Self::Unanswered(_) => Some(backoff(attempts, random)),
            Self::Transient { after, again: true, .. } => {
                Some(backoff(attempts, random).max(after.unwrap_or_default()))
            }
            Self::Transient { again: false, .. }
            | Self::KeyRefused(_)
            | Self::Missing(_)
            | Self::Refused { .. }
            | Self::Unreadable(_) => None,
        }
    }
}

/// Reads the object or list of an answer.
///
/// # Errors
/// [`ApiError`] if the answer is not a success.
pub fn read(answer: &Response<Bytes>) -> Result<Value, ApiError> {
    let status = answer.status().as_u16();
    let body = serde_json::from_slice::<Value>(answer.body());
    if answer.status().is_success() {
        return body.map_err(|error| ApiError::Unreadable(error.to_string()));
    }
    let said = body.unwrap_or_default();
    // Stripe's message may repeat a secret that was sent.
    let message = masked_forms(said["error"]["message"].as_str().unwrap_or("no message"));
    Err(match outcome(answer) {
        Outcome::KeyRefused => ApiError::KeyRefused(message),
        Outcome::Retry { after } => ApiError::Transient { status, message, after, again: true },
        Outcome::Reconcile => ApiError::Transient { status, message, after: None, again: false },
        // Stripe answers 400 if a parameter names a missing object, 404 if the path does.
        _ if status == 404 || said["error"]["code"] == "resource_missing" => {
            ApiError::Missing(message)
        }
        _ => ApiError::Refused { status, message },
    })
}

/// Whether the answer repeats Stripe's earlier answer to the same idempotency key.
#[must_use]
pub fn is_replayed(answer: &Response<Bytes>) -> bool {
    header_text(answer.headers(), "idempotent-replayed") == Some("true")
}

/// What an answer to a meter event means; see [`Outcome::of`].
#[must_use]
pub fn outcome(answer: &Response<Bytes>) -> Outcome {
    let text = |name| header_text(answer.headers(), name);
    Outcome::of(Answer {
        status: answer.status().as_u16(),
        should_retry: text("stripe-should-retry"),
        retry_after: text("retry-after"),
        body: answer.body(),
    })
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The rows of a list, and the id after which the next page begins, if there is one.
///
/// # Errors
/// [`ApiError::Unreadable`] if the answer is not a list.
pub fn page(mut answer: Value) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let Value::Array(rows) = answer["data"].take() else {
        return Err(ApiError::Unreadable("a list without data".to_owned()));
    };
    let more = answer["has_more"] == Value::Bool(true);
    let last = rows.last().filter(|_| more).and_then(|row| row["id"].as_str());
    let next = last.map(str::to_owned);
    Ok((rows, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_bases_are_checked_and_never_shown() {
        let access = Access::new(" sk_test_hunter2 ", "https://api.stripe.com/").expect("right");
        assert!(!format!("{access:?}").contains("hunter2"));
        let wrong = |key, base| Access::new(key, base).map(drop).expect_err("malformed");
        assert_eq!(wrong("pk_live_1", API_BASE), MalformedAccess::Publishable);
        for key in ["", "whsec_1", "sk_a b"] {
            assert_eq!(wrong(key, API_BASE), MalformedAccess::Key, "{key}");
        }
        for base in ["", "api.stripe.com", "ftp://h", "https://h/?a=1"] {
            assert_eq!(wrong("sk_1", base), MalformedAccess::Base, "{base}");
        }
    }

    #[test]
    fn calls_become_requests() {
        let access = Access::new("sk_1", API_BASE).expect("right");
        let get = Call::get("/v1/subscriptions").field("customer", "cus_1").field("status", "all");
        let request = access.request(&get, Series::FIRST).expect("a request");
        assert_eq!(
            request.uri(),
            "https://api.stripe.com/v1/subscriptions?customer=cus_1&status=all"
        );
        assert!(request.body().is_empty() && !request.headers().contains_key("idempotency-key"));
        let post = Call::post("/v1/customers")
            .field("metadata[organization]", "a&b")
            .maybe("email", None::<&str>);
        let request = access.request(&post, Series::FIRST).expect("a request");
        assert_eq!(&request.body()[..], b"metadata%5Borganization%5D=a%26b");
        let key = post.idempotency_key(Series::FIRST).expect("a POST has one");
        assert_eq!(request.headers()["idempotency-key"], key);
        assert_eq!(request.headers()["stripe-version"], API_VERSION);
        assert_eq!(request.headers()["authorization"], "Bearer sk_1");
    }

    #[test]
    fn answers_are_distinguished() {
        let of = |status: u16, body: &str| {
            let answer = Response::builder().status(status).header("retry-after", "3");
            read(&answer.body(Bytes::copy_from_slice(body.as_bytes())).expect("an answer"))
        };
        let message = r#"{"error":{"message":"m"}}"#;
        assert_eq!(of(200, r#"{"id":"x"}"#).expect("an object")["id"], "x");
        assert!(matches!(of(200, "<html>"), Err(ApiError::Unreadable(_))));
        assert_eq!(of(401, message), Err(ApiError::KeyRefused("m".into())));
        assert_eq!(of(404, message), Err(ApiError::Missing("m".into())));
        assert_eq!(of(400, message), Err(ApiError::Refused { status: 400, message: "m".into() }));
        let missing = r#"{"error":{"code":"resource_missing","message":"m","param":"customer"}}"#;
        assert_eq!(of(400, missing), Err(ApiError::Missing("m".into())), "of a missing customer");
        let after = Some(Duration::from_secs(3));
        assert_eq!(
            of(429, message),
            Err(ApiError::Transient { status: 429, message: "m".into(), after, again: true })
        );
        let asked = of(429, message).expect_err("limited");
        assert_eq!(asked.again_after(1, 0), after, "not before Stripe wants it");
        let never = Response::builder().status(500).header("stripe-should-retry", "false");
        let never = read(&never.body(Bytes::new()).expect("an answer")).expect_err("it failed");
        assert_eq!(never.again_after(1, 0), None, "nor when it does not");
        let lost = ApiError::Unanswered("lost".into());
        assert!(lost.again_after(2, 0) > lost.again_after(1, 0));
        assert_eq!(of(400, message).expect_err("refused").again_after(1, 0), None);
        assert!(matches!(of(502, "<html>"), Err(ApiError::Transient { .. })));
    }

    #[test]
    fn lists_name_the_next_page() {
        let list = |more: bool| serde_json::json!({ "data": [{ "id": "a" }, { "id": "b" }], "has_more": more });
        assert_eq!(page(list(true)).expect("a list").1.as_deref(), Some("b"));
        assert_eq!(page(list(false)).expect("a list").1, None);
        page(serde_json::json!({ "data": 1 })).expect_err("no list");
    }
}
