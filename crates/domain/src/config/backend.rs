//! The backend's address and headers, and the timeouts.

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderName, HeaderValue};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// The backend, or several equal ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backend {
    /// Base URLs, `http://HOST:PORT` or `https://HOST`; in the file one string or a list.
    /// The environment variable `ENV_GO_BACKEND_URL` takes precedence.
    #[serde(skip_serializing_if = "Urls::is_empty")]
    pub url: Urls,
    /// A file of CA certificates (PEM) for HTTPS backends; without it, the system's are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Headers that every forwarded request gets; `env:NAME` stands for an environment variable.
    pub headers: BTreeMap<String, String>,
    /// Idle connections kept per core and backend.
    pub idle_connections_max: usize,
    /// Connections per core and backend, busy ones included; further requests wait, then get 503.
    pub connections_max: usize,
    /// The path of the health check (any 2xx is healthy); without it, no health checks are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
    /// The interval of health checks, in milliseconds.
    pub health_every_ms: u64,
    /// After this many failures in a row, one of several backends gets no requests for a while.
    pub eject_after_failures: u32,
    /// For how long it gets none, in milliseconds.
    pub eject_ms: u64,
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            url: Urls::default(),
            ca_file: None,
            headers: BTreeMap::new(),
            idle_connections_max: 256,
            connections_max: 4_096,
            health_path: None,
            health_every_ms: 5_000,
            eject_after_failures: 3,
            eject_ms: 10_000,
        }
    }
}

/// A header for the backend without a usable value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}; `backend.headers` needs it")]
pub struct BackendHeaderError {
    /// The environment variable.
    pub variable: String,
    /// What is wrong with it; never its value.
    pub problem: &'static str,
}

impl Backend {
    /// The headers that every forwarded request gets; `environment` looks up a variable. `Debug`
    /// never shows the values, since they may be secrets.
    ///
    /// # Errors
    /// [`BackendHeaderError`] names the variable that is not set, or cannot be a header value.
    pub fn resolved_headers(
        &self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, BackendHeaderError> {
        let mut resolved = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let variable = value.strip_prefix("env:").unwrap_or(name);
            let failed = |problem| BackendHeaderError { variable: variable.to_owned(), problem };
            let value = match value.strip_prefix("env:") {
                Some(variable) => environment(variable).ok_or_else(|| failed("not set"))?,
                None => value.clone(),
            };
            let name = HeaderName::try_from(name).map_err(|_| failed("not a header name"))?;
            let value = HeaderValue::try_from(value.trim());
            let mut value = value.map_err(|_| failed("not one line of visible characters"))?;
            value.set_sensitive(true);
            resolved.push((name, value));
        }
        Ok(resolved)
    }
}

/// One URL or several.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Urls(pub Vec<String>);

impl Urls {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The URLs of a comma-separated list, as in environment variables.
    #[must_use]
    pub fn of_list(text: &str) -> Self {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        Self(urls.map(str::to_owned).collect())
    }
}

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Urls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL or a list of URLs")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<Urls, E> {
                Ok(Urls(vec![url.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut urls: A) -> Result<Urls, A::Error> {
                let mut all = Vec::new();
                while let Some(url) = urls.next_element()? {
                    all.push(url);
                }
                Ok(Urls(all))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// Timeouts, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until a client's request head is complete.
    pub client_head_ms: u64,
    /// Between two pieces of a body, in either direction.
    pub body_idle_ms: u64,
    /// The least average rate of a client's body, in bytes per second; 0 means no limit.
    pub body_bytes_per_sec_min: u64,
    /// From a request's head to the end of its response, except for event streams.
    pub request_ms: u64,
    /// Until an idle client connection is closed.
    pub client_idle_ms: u64,
    /// Until a WebSocket without traffic in either direction is closed.
    pub websocket_idle_ms: u64,
    /// Until a connection to the backend is established.
    pub backend_connect_ms: u64,
    /// Until the backend's response head, unless the route sets another timeout.
    pub backend_head_ms: u64,
    /// Until an idle backend connection is closed.
    pub backend_idle_ms: u64,
    /// How long requests in progress may continue during shutdown.
    pub drain_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            client_head_ms: 10_000,
            body_idle_ms: 30_000,
            body_bytes_per_sec_min: 50,
            request_ms: 300_000,
            client_idle_ms: 75_000,
            websocket_idle_ms: 300_000,
            backend_connect_ms: 2_000,
            backend_head_ms: 30_000,
            backend_idle_ms: 60_000,
            drain_ms: 30_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_from_the_environment() {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let headers = [("x-api-key", "env:BACKEND_KEY"), ("x-tenant", "driftlock")];
        let backend = Backend { headers: headers.map(pair).into(), ..Backend::default() };
        let found =
            backend.resolved_headers(|name| (name == "BACKEND_KEY").then(|| "hunter2".to_owned()));
        let found = found.expect("resolved");
        assert_eq!(found[0].1, "hunter2");
        assert_eq!(found[1].1, "driftlock");
        assert!(!format!("{found:?}").contains("hunter2"));
        let missing = backend.resolved_headers(|_| None).expect_err("not set");
        assert_eq!(missing.to_string(), "BACKEND_KEY: not set; `backend.headers` needs it");
    }

    #[test]
    fn one_url_or_several() {
        let parse = |text: &str| toml::from_str::<Backend>(text).map(|backend| backend.url.0);
        assert_eq!(parse("url = \"http://a\""), Ok(vec!["http://a".to_owned()]));
        let several = parse("url = [\"http://a\", \"http://b\"]").expect("a list");
        assert_eq!(several.len(), 2);
        let wrong = parse("url = 8081").expect_err("a number");
        assert!(wrong.to_string().contains("a URL or a list of URLs"), "{wrong}");
        assert_eq!(Urls::of_list("http://a, http://b,").0, ["http://a", "http://b"]);
    }
}
