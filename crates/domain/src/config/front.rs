//! Settings that concern clients: cross-origin requests, idempotency keys, response headers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Cross-origin requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins of web pages that may call, such as `https://app.example.com`; `*` allows any. With
    /// a list, requests from other origins are refused. With an empty list, the gateway sends no
    /// CORS headers, so browsers hide responses from all pages.
    pub allowed_origins: Vec<String>,
    /// Request headers that pages may send.
    pub allowed_headers: Vec<String>,
    /// How long a browser may cache a preflight, in seconds.
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
    /// Headers in which a repetition may differ from the first request: they describe the client
    /// and the proxies, not the request. `x-forwarded-*` stands for all names with this beginning.
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

/// Headers of every response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Responses {
    /// Headers that the gateway adds where the backend has not set them.
    pub headers: BTreeMap<String, String>,
}

impl Default for Responses {
    fn default() -> Self {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let headers = [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")];
        Self { headers: headers.map(pair).into() }
    }
}
