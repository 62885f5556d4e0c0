//! Web pages that may call, and headers that every answer has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Cross-origin requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins of pages that may call, `https://app.example.com`; `*` is any. With some listed,
    /// requests of others are refused; with none, browsers keep answers from every page.
    pub allowed_origins: Vec<String>,
    /// Request headers that pages may send.
    pub allowed_headers: Vec<String>,
    /// How long a browser remembers a preflight, in seconds.
    pub max_age_secs: u64,
}

impl Default for Cors {
    fn default() -> Self {
        let headers = ["Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"];
        Self {
            allowed_origins: Vec::new(),
            allowed_headers: headers.map(str::to_owned).to_vec(),
            max_age_secs: 600,
        }
    }
}

/// Requests with an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Idempotency {
    /// Headers in which a repetition may differ from the first request: they say who sends it and
    /// by which way, not what is asked for. `x-forwarded-*` is every name that begins so.
    pub ignored_headers: Vec<String>,
}

impl Default for Idempotency {
    fn default() -> Self {
        let headers = [
            "user-agent",
            "accept-encoding",
            "traceparent",
            "tracestate",
            "x-request-id",
            "x-forwarded-*",
            "forwarded",
            "via",
            "cdn-loop",
            "cf-*",
            "x-amzn-trace-id",
            "x-cloud-trace-context",
        ];
        Self { ignored_headers: headers.map(str::to_owned).to_vec() }
    }
}

/// What every answer carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Responses {
    /// Headers that are added where the backend has not set them.
    pub headers: BTreeMap<String, String>,
}

impl Default for Responses {
    fn default() -> Self {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let headers = [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")];
        Self { headers: headers.map(pair).into() }
    }
}
