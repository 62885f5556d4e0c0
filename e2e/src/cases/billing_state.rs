//! Billing state: subscriptions, grace time, suspension.

use serde_json::{Value, json};
use time::Duration;

use crate::admin::{HEALTH, LIST, Organization, subscription};
use crate::target::Target;

pub(super) fn a_paid_plan_wants_a_subscription(target: &Target) {
    let organization = Organization::with(target, json!({"plan": "standard"}));
    check_refused(&organization);
    organization.patch(&json!({"subscription": subscription("active", None)}));
    check_passes(&organization);
    organization.patch(&json!({"subscription": null}));
    check_refused(&organization);
}

pub(super) fn good_statuses_pass(target: &Target) {
    for status in ["active", "trialing"] {
        check_passes(&standard(target, &subscription(status, None)));
    }
}

pub(super) fn bad_statuses_are_402(target: &Target) {
    for status in ["canceled", "unpaid", "incomplete", "incomplete_expired", "paused"] {
        check_refused(&standard(target, &subscription(status, None)));
    }
}

pub(super) fn a_failed_payment_passes_in_its_grace_time(target: &Target) {
    let grace = subscription("past_due", Some(Duration::days(7)));
    let organization = standard(target, &grace);
    check_passes(&organization);
    let over = subscription("past_due", Some(-Duration::hours(1)));
    organization.patch(&json!({"subscription": over}));
    check_refused(&organization);
}

pub(super) fn a_suspended_organization_is_402(target: &Target) {
    let organization = Organization::new(target);
    organization.patch(&json!({"status": "suspended"}));
    check_refused(&organization);
    organization.patch(&json!({"status": "active"}));
    check_passes(&organization);
}

pub(super) fn the_period_is_the_subscription_s(target: &Target) {
    let made = subscription("active", None);
    let organization = standard(target, &made);
    assert_eq!(organization.usage()["period"], made["period"]);
    let read = organization.admin("GET", "").send().expect(200).json();
    assert_eq!(read["subscription"]["period"], made["period"]);
    assert_eq!(read["subscription"]["status"], "active");
    let answer = organization.key().get(LIST);
    assert_eq!(answer.expect(200).limit("ratelimit-policy", "quota", "w"), 30 * 86_400);
}

fn standard<'a>(target: &'a Target, subscription: &Value) -> Organization<'a> {
    Organization::with(target, json!({"plan": "standard", "subscription": subscription}))
}

fn check_passes(organization: &Organization<'_>) {
    let key = organization.key();
    key.detect().expect(200).receipt();
    key.get(LIST).expect(200);
}

/// Free routes need an entitlement too; only the health route does not.
fn check_refused(organization: &Organization<'_>) {
    let key = organization.key();
    // With the next request the ledger learns of another period and moves units to it.
    key.get(HEALTH).expect(200);
    let before = organization.units();
    key.detect().free().problem(402, "subscription-inactive");
    key.get(LIST).problem(402, "subscription-inactive");
    key.get(HEALTH).expect(200);
    assert_eq!(organization.units(), before);
}
