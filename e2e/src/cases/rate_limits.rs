//! Requests per minute of a key and of an organization; the headers of a denial, and that it
//! consumes nothing.

use serde_json::json;

use crate::admin::{DETECT, HEALTH, LIST, Organization, two_lines};
use crate::answer::Answer;
use crate::target::Target;

pub(super) fn the_headers_state_the_limits(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key_with(json!({"requests_per_minute": 2}));
    let first = key.get(LIST);
    check_names(first.expect(200), &["key", "quota"]);
    check_key_limit(&first, 2, 1);
    assert_eq!(first.limit("ratelimit", "key", "t"), 30, "one of two a minute is there in 30 s");
    assert_eq!(first.limit("ratelimit-policy", "quota", "q"), 10_000);
    assert_eq!(first.limit("ratelimit", "quota", "r"), 10_000);
    let window = first.limit("ratelimit-policy", "quota", "w");
    let days = [28, 29, 30, 31].map(|days| days * 86_400);
    assert!(days.contains(&window), "the calendar month has {window} s");
    assert!(first.limit("ratelimit", "quota", "t") <= window);
    let second = key.detect();
    check_key_limit(second.expect(200), 2, 0);
    assert_eq!(second.limit("ratelimit", "quota", "r"), 9_999);
}

pub(super) fn a_key_s_limit_denies(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key_with(json!({"requests_per_minute": 2}));
    for _ in 0..2 {
        key.get(LIST).expect(200);
    }
    let denied = key.get(LIST);
    denied.problem(429, "rate-limited");
    check_key_limit(&denied, 2, 0);
    check_retry_after(&denied, "key");
    organization.key().get(LIST).expect(200);
}

pub(super) fn a_denial_consumes_no_quota(target: &Target) {
    let organization = Organization::with(target, json!({"quota": {"included": 10}}));
    let key = organization.key_with(json!({"requests_per_minute": 2}));
    for _ in 0..2 {
        key.detect().expect(200);
    }
    for _ in 0..3 {
        key.detect().free().problem(429, "rate-limited");
    }
    assert_eq!(organization.units(), 2);
    let other = organization.key().detect();
    assert_eq!(other.expect(200).limit("ratelimit", "quota", "r"), 7);
}

pub(super) fn an_organization_s_limit_is_shared_by_its_keys(target: &Target) {
    let organization = Organization::with(target, json!({"requests_per_minute": 2}));
    // So low that no request is refilled while the case runs.
    let (one, two) = (
        organization.key_with(json!({"requests_per_minute": 5})),
        organization.key_with(json!({"requests_per_minute": 5})),
    );
    let first = one.get(LIST);
    check_names(first.expect(200), &["key", "organization", "quota"]);
    assert_eq!(first.limit("ratelimit-policy", "organization", "q"), 2);
    assert_eq!(first.limit("ratelimit-policy", "organization", "w"), 60);
    assert_eq!(first.limit("ratelimit", "organization", "r"), 1);
    two.get(LIST).expect(200);
    let denied = one.get(LIST);
    denied.problem(429, "rate-limited");
    check_retry_after(&denied, "organization");
    assert_eq!(denied.limit("ratelimit", "organization", "r"), 0);
    assert_eq!(denied.limit("ratelimit", "key", "r"), 4, "the key's own limit loses nothing");
    two.call("POST", DETECT).json(&two_lines()).send().problem(429, "rate-limited");
    assert_eq!(organization.units(), 0);
}

pub(super) fn a_plan_limits_keys_that_have_no_limit_of_their_own(target: &Target) {
    let key = Organization::new(target).key_with(json!({}));
    let answer = key.get(LIST);
    check_key_limit(answer.expect(200), 60, 59);
    let health = key.get(HEALTH);
    check_key_limit(health.expect(200), 60, 58);
}

fn check_names(answer: &Answer, wanted: &[&str]) {
    for header in ["ratelimit-policy", "ratelimit"] {
        let limits = answer.limits(header);
        let names: Vec<&str> = limits.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, wanted, "{header}");
    }
}

/// Both families of headers agree.
fn check_key_limit(answer: &Answer, limit: u64, remaining: u64) {
    assert_eq!(answer.limit("ratelimit-policy", "key", "q"), limit);
    assert_eq!(answer.limit("ratelimit-policy", "key", "w"), 60);
    assert_eq!(answer.limit("ratelimit", "key", "r"), remaining);
    let reset = answer.limit("ratelimit", "key", "t");
    assert!((1..=60_u64.div_ceil(limit)).contains(&reset), "{reset}");
    assert_eq!(answer.number("x-ratelimit-limit"), limit);
    assert_eq!(answer.number("x-ratelimit-remaining"), remaining);
    assert_eq!(answer.number("x-ratelimit-reset"), reset);
}

fn check_retry_after(denied: &Answer, limit: &str) {
    let (wait, until) = (denied.number("retry-after"), denied.limit("ratelimit", limit, "t"));
    assert!(wait >= until && (1..=30).contains(&wait), "Retry-After {wait}, t {until}");
}
