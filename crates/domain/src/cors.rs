//! Which web pages may call: the Fetch standard's CORS protocol
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>), for an API whose callers present a key.
//!
//! Without allowed origins the gateway sends no CORS headers, and browsers let no page read a
//! response. Credentials in the standard's sense (cookies) are never allowed: keys are sent in a
//! header.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use crate::config;

/// Response headers that pages may read in addition to the few that they always may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, \
     Retry-After, X-Request-ID, X-Usage-Receipt, Idempotency-Replayed",
);
const VARIES: HeaderValue = HeaderValue::from_static("Origin");

/// The rules of the configuration, parsed.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Origins,
    headers: HeaderValue,
    max_age: Duration,
}

#[derive(Debug, Clone)]
enum Origins {
    None,
    Any,
    Listed(Vec<HeaderValue>),
}

/// An origin that is not on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginNotAllowed;

/// A preflight: the browser asks whether the page may send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preflight;

impl Cors {
    /// The rules of a validated configuration.
    #[must_use]
    pub fn new(config: &config::Cors) -> Self {
        let listed = &config.allowed_origins;
        let origins = if listed.is_empty() {
            Origins::None
        } else if listed.iter().any(|origin| origin == "*") {
            Origins::Any
        } else {
            Origins::Listed(listed.iter().filter_map(|text| text.parse().ok()).collect())
        };
        let headers = config.allowed_headers.join(", ").parse();
        let headers = headers.unwrap_or(HeaderValue::from_static(""));
        Self { origins, headers, max_age: Duration::from_secs(config.max_age_secs) }
    }

    /// The value of `Access-Control-Allow-Origin`, if the request names an origin and there are
    /// rules.
    ///
    /// # Errors
    /// [`OriginNotAllowed`].
    pub fn origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, OriginNotAllowed> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
        match &self.origins {
            Origins::None => Ok(None),
            Origins::Any => Ok(Some(HeaderValue::from_static("*"))),
            Origins::Listed(listed) if listed.contains(origin) => Ok(Some(origin.clone())),
            Origins::Listed(_) => Err(OriginNotAllowed),
        }
    }

    /// Whether a request is a preflight of a page with an allowed origin.
    #[must_use]
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Preflight> {
        let asks = method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let known = asks && matches!(self.origin(headers), Ok(Some(_)));
        known.then_some(Preflight)
    }

    /// Writes the response headers of a preflight, for a path that supports these methods.
    pub fn answer_preflight(&self, headers: &mut HeaderMap, methods: &[Method]) {
        let names = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        if let Ok(names) = HeaderValue::try_from(names) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, names);
        }
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age.as_secs()));
    }

    /// Lets the page of this origin read the response.
    pub fn allow(&self, headers: &mut HeaderMap, origin: HeaderValue) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        // Appended, since the backend may have listed its own headers.
        headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if matches!(self.origins, Origins::Listed(_)) {
            headers.append(VARY, VARIES);
        }
    }
}

/// Whether a text is an origin: scheme, host, and optionally a port; or `*`.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let host = rest
        .rsplit_once(':')
        .map_or(rest, |(host, port)| if port.parse::<u16>().is_ok() { host } else { "" });
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-[]:".contains(&byte);
    matches!(scheme, "http" | "https") && !host.is_empty() && host.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origins: &[&str]) -> Cors {
        let allowed_origins = origins.iter().map(|&origin| origin.to_owned()).collect();
        Cors::new(&config::Cors { allowed_origins, ..config::Cors::default() })
    }

    fn from(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        headers
    }

    #[test]
    fn only_listed_origins_are_answered() {
        let rules = rules(&["https://app.example.com"]);
        let listed = rules.origin(&from("https://app.example.com"));
        assert_eq!(listed, Ok(Some(HeaderValue::from_static("https://app.example.com"))));
        for other in ["https://app.example.com.evil.net", "http://app.example.com", "null"] {
            assert_eq!(rules.origin(&from(other)), Err(OriginNotAllowed), "{other}");
        }
        assert_eq!(rules.origin(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn without_rules_there_are_no_cors_headers() {
        assert_eq!(rules(&[]).origin(&from("https://a.example")), Ok(None));
        let mut preflight = from("https://a.example");
        preflight.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        assert_eq!(rules(&[]).preflight(&Method::OPTIONS, &preflight), None);
        let known = rules(&["https://a.example"]);
        assert_eq!(known.preflight(&Method::OPTIONS, &preflight), Some(Preflight));
        assert_eq!(known.preflight(&Method::GET, &preflight), None);
    }

    #[test]
    fn caches_keep_the_answers_of_origins_apart() {
        let mut headers = HeaderMap::new();
        rules(&["https://a.example"])
            .allow(&mut headers, HeaderValue::from_static("https://a.example"));
        assert_eq!(headers[VARY], "Origin");
        let mut any = HeaderMap::new();
        rules(&["*"]).allow(&mut any, HeaderValue::from_static("*"));
        assert!(!any.contains_key(VARY));
    }

    #[test]
    fn what_is_an_origin() {
        for right in ["*", "https://a.example", "http://127.0.0.1:3000", "https://[::1]:8080"] {
            assert!(is_origin(right), "{right}");
        }
        for wrong in ["a.example", "https://", "https://a.example/", "https://A.example", "ftp://a"]
        {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
