//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers: RFC 9651 lists of
//! quoted strings with integer parameters), and the older `X-RateLimit-*` of the key's limit.
//!
//! `q` is the quota of a window of `w` seconds, `r` what is left, `t` the seconds until one more
//! request is allowed (for the quota: until the period ends). `RateLimit` omits the quota where
//! this node does not know what is left.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cell::LimitsNow;
use crate::limit::LimitState;
use crate::text::Text;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const CURRENT: HeaderName = HeaderName::from_static("ratelimit");
const OLD_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const OLD_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const OLD_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The greatest integer of RFC 9651 (section 3.3.1). A greater one would make the whole field
/// invalid, so this is written instead.
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// Room for the three limits with the greatest numbers.
const CHARS_MAX: usize = 192;

/// Writes the state of the limits after this request.
pub fn write_limits(headers: &mut HeaderMap, limits: &LimitsNow) {
    let LimitsNow { key, organization, quota } = limits;
    let (mut policy, mut current) = (Text::<CHARS_MAX>::new(), Text::<CHARS_MAX>::new());
    let mut rate = |name: &str, of: &LimitState| {
        item(&mut policy, name, ";q=", u64::from(of.limit), ";w=", of.window_secs);
        item(&mut current, name, ";r=", u64::from(of.remaining), ";t=", of.reset_secs);
    };
    rate("\"key\"", key);
    if let Some(organization) = organization {
        rate(", \"organization\"", organization);
    }
    item(&mut policy, ", \"quota\"", ";q=", quota.included, ";w=", quota.window_secs);
    if let Some(remaining) = quota.remaining {
        item(&mut current, ", \"quota\"", ";r=", remaining, ";t=", quota.reset_secs);
    }
    insert(headers, POLICY, &policy);
    insert(headers, CURRENT, &current);
    headers.insert(OLD_LIMIT, HeaderValue::from(key.limit));
    headers.insert(OLD_REMAINING, HeaderValue::from(key.remaining));
    headers.insert(OLD_RESET, HeaderValue::from(key.reset_secs));
}

/// One list member with its two parameters.
fn item(text: &mut Text<CHARS_MAX>, name: &str, first: &str, one: u64, second: &str, two: u64) {
    text.push_str(name);
    text.push_str(first);
    text.push_number(one.min(INTEGER_MAX));
    text.push_str(second);
    text.push_number(two.min(INTEGER_MAX));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &Text<CHARS_MAX>) {
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::QuotaState;

    #[test]
    fn the_published_form() {
        let quota = QuotaState {
            included: 250_000,
            remaining: Some(249_999),
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
        let unknown = QuotaState { remaining: None, ..quota };
        write_limits(&mut headers, &LimitsNow { key, organization: None, quota: unknown });
        assert_eq!(headers["ratelimit-policy"], r#""key";q=300;w=60, "quota";q=250000;w=2592000"#);
        assert_eq!(headers["ratelimit"], r#""key";r=299;t=1"#, "an unknown number is omitted");
    }

    #[test]
    fn numbers_stay_within_the_field_s_grammar() {
        let quota = QuotaState {
            included: 1 << 53,
            remaining: Some(u64::MAX),
            window_secs: u64::MAX,
            reset_secs: 1,
        };
        let key = LimitState { limit: 1, window_secs: 60, remaining: 1, reset_secs: 0 };
        let mut headers = HeaderMap::new();
        write_limits(&mut headers, &LimitsNow { key, organization: None, quota });
        assert_eq!(
            headers["ratelimit-policy"],
            r#""key";q=1;w=60, "quota";q=999999999999999;w=999999999999999"#
        );
        assert_eq!(headers["ratelimit"], r#""key";r=1;t=0, "quota";r=999999999999999;t=1"#);
    }
}
