//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers: RFC 9651 lists of
//! quoted strings with integer parameters), and the older `X-RateLimit-*` of the key's limit.
//!
//! `q` is the quota of a window of `w` seconds, `r` what is left, `t` the seconds until one more
//! request would pass (for the quota: until the period ends).

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cell::LimitsNow;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const CURRENT: HeaderName = HeaderName::from_static("ratelimit");
const OLD_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const OLD_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const OLD_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// States the limits as they are after this request.
pub fn write_limits(headers: &mut HeaderMap, limits: &LimitsNow) {
    let LimitsNow { key, organization, quota } = limits;
    let mut policy = String::with_capacity(80);
    let mut current = String::with_capacity(80);
    // Writing to a string cannot fail.
    let _ = write!(policy, "\"key\";q={};w={}", key.limit, key.window_secs);
    let _ = write!(current, "\"key\";r={};t={}", key.remaining, key.reset_secs);
    if let Some(of) = organization {
        let _ = write!(policy, ", \"organization\";q={};w={}", of.limit, of.window_secs);
        let _ = write!(current, ", \"organization\";r={};t={}", of.remaining, of.reset_secs);
    }
    let _ = write!(policy, ", \"quota\";q={};w={}", quota.included, quota.window_secs);
    let _ = write!(current, ", \"quota\";r={};t={}", quota.remaining, quota.reset_secs);
    insert(headers, POLICY, policy);
    insert(headers, CURRENT, current);
    headers.insert(OLD_LIMIT, HeaderValue::from(key.limit));
    headers.insert(OLD_REMAINING, HeaderValue::from(key.remaining));
    headers.insert(OLD_RESET, HeaderValue::from(key.reset_secs));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::QuotaState;
    use crate::limit::LimitState;

    #[test]
    fn the_published_form() {
        let quota = QuotaState {
            included: 250_000,
            remaining: 249_999,
            window_secs: 2_592_000,
            reset_secs: 1_209_600,
        };
        let key = LimitState { limit: 300, window_secs: 60, remaining: 299, reset_secs: 1 };
        let mut headers = HeaderMap::new();
        write_limits(&mut headers, &LimitsNow { key, organization: None, quota });
        assert_eq!(headers["ratelimit-policy"], r#""key";q=300;w=60, "quota";q=250000;w=2592000"#);
        assert_eq!(headers["ratelimit"], r#""key";r=299;t=1, "quota";r=249999;t=1209600"#);
        assert_eq!(headers["x-ratelimit-limit"], "300");
        assert_eq!(headers["x-ratelimit-remaining"], "299");
        assert_eq!(headers["x-ratelimit-reset"], "1");
        let organization =
            Some(LimitState { limit: 9, window_secs: 60, remaining: 8, reset_secs: 7 });
        write_limits(&mut headers, &LimitsNow { key, organization, quota });
        assert_eq!(
            headers["ratelimit"],
            r#""key";r=299;t=1, "organization";r=8;t=7, "quota";r=249999;t=1209600"#
        );
    }
}
