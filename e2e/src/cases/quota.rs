//! Quota: how many units an organization may use in a period, and their price to the micro-dollar.

use serde_json::{Value, json};

use crate::admin::{HEALTH, Key, LIST, Organization};
use crate::poll::eventually;
use crate::target::Target;

/// What the shipped standard plan costs.
const BASE_MICROS: u64 = 49_000_000;
const OVERAGE_MICROS: u64 = 3_500;

pub(super) fn block_denies_at_the_included_units(target: &Target) {
    let organization = Organization::new(target);
    let patched = organization.patch(&json!({"quota": {"included": 2}}));
    assert_eq!(patched["quota"]["included"], 2);
    let key = organization.key();
    for left in [1, 0] {
        let answer = key.detect();
        assert_eq!(answer.expect(200).limit("ratelimit", "quota", "r"), left);
        assert_eq!(answer.limit("ratelimit-policy", "quota", "q"), 2);
    }
    let denied = key.detect();
    denied.free().problem(429, "quota-exceeded");
    assert_eq!(denied.limit("ratelimit", "quota", "r"), 0);
    assert!(denied.number("retry-after") >= denied.limit("ratelimit", "quota", "t"));
    key.get(HEALTH).expect(200);
    key.get(LIST).expect(200);
    assert_eq!(organization.units(), 2);
}

pub(super) fn a_raised_quota_lifts_the_block_at_once(target: &Target) {
    let organization = Organization::with(target, json!({"quota": {"included": 1}}));
    let key = organization.key();
    used_up_after(&key, 1);
    organization.patch(&json!({"quota": {"included": 2}}));
    used_up_after(&key, 1);
    organization.patch(&json!({"quota": {"included": 1}}));
    key.detect().problem(429, "quota-exceeded");
    assert_eq!(organization.units(), 2);
}

pub(super) fn no_units_at_all_deny_the_first_request(target: &Target) {
    let organization = Organization::with(target, json!({"quota": {"included": 0}}));
    used_up_after(&organization.key(), 0);
}

pub(super) fn a_soft_cap_bills_overage_and_then_denies(target: &Target) {
    let quota = json!({"included": 2, "policy": "soft_cap", "cap_percent": 200});
    let organization = Organization::subscribed(target, &quota);
    used_up_after(&organization.key(), 4);
    check_usage(&organization.usage(), 4, 2);
}

pub(super) fn allow_denies_at_the_spend_cap_only(target: &Target) {
    // Two units cost 7,000; the remaining thousand buys no further unit.
    let quota = json!({"included": 1, "policy": "allow", "spend_cap_micros": 8_000});
    let organization = Organization::subscribed(target, &quota);
    let key = organization.key();
    used_up_after(&key, 3);
    check_usage(&organization.usage(), 3, 1);
    organization.patch(&json!({"quota": {"spend_cap_micros": null}}));
    for _ in 0..3 {
        key.detect().expect(200);
    }
    check_usage(&organization.usage(), 6, 1);
}

pub(super) fn the_nearer_of_cap_and_spend_cap_counts(target: &Target) {
    let quota = json!({
        "included": 2, "policy": "soft_cap", "cap_percent": 200, "spend_cap_micros": OVERAGE_MICROS,
    });
    let organization = Organization::subscribed(target, &quota);
    used_up_after(&organization.key(), 3);
}

pub(super) fn without_overage_only_the_base_fee_is_due(target: &Target) {
    let organization = Organization::subscribed(target, &json!({"included": 5}));
    organization.key().detect().expect(200);
    check_usage(&organization.usage(), 1, 5);
    let developer = Organization::new(target);
    developer.key().detect().expect(200);
    let usage = developer.usage();
    assert_eq!((&usage["amount_micros"], &usage["included"]), (&json!(0), &json!(10_000)));
}

/// Expects that so many detections pass and the next is denied by the quota.
fn used_up_after(key: &Key<'_>, units: usize) {
    for _ in 0..units {
        key.detect().expect(200);
    }
    let denied = key.detect();
    denied.free().problem(429, "quota-exceeded");
    assert!(denied.number("retry-after") >= 1);
}

fn check_usage(usage: &Value, units: u64, included: u64) {
    let overage = units.saturating_sub(included);
    assert_eq!(usage["units"], units, "{usage}");
    assert_eq!(usage["included"], included, "{usage}");
    assert_eq!(usage["overage_units"], overage, "{usage}");
    assert_eq!(usage["amount_micros"], BASE_MICROS + overage * OVERAGE_MICROS, "{usage}");
}

pub(super) fn a_smaller_plan_that_is_used_up_alerts_at_once(target: &Target) {
    let organization =
        Organization::subscribed(target, &json!({"included": 10, "policy": "block"}));
    let key = organization.key();
    for _ in 0..6 {
        key.detect().expect(200);
    }
    let kinds = || -> Vec<Value> {
        let alerts = organization.admin("GET", "/alerts").send().expect(200).json();
        let alerts = alerts["data"].as_array().cloned().expect("a list");
        let mut kinds: Vec<Value> = alerts.iter().map(|alert| alert["kind"].clone()).collect();
        kinds.sort_by_key(Value::to_string);
        kinds
    };
    assert_eq!(kinds(), [""; 0]);
    // The change itself raises the alert, without a request.
    organization.patch(&json!({"quota": {"included": 6}}));
    let all = ["cap_reached", "usage_100_percent", "usage_70_percent", "usage_90_percent"];
    assert_eq!(kinds(), all);
    eventually("it is denied", || (key.detect().status == 429).then_some(()));
    organization.patch(&json!({"quota": {"included": 5}}));
    key.detect().problem(429, "quota-exceeded");
    assert_eq!(kinds(), all, "once in the period");
}
