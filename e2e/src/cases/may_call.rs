//! Entitlement: who may call, from Stripe's events and an operator's settings (`docs/stripe.md`).

use std::time::Duration;

use driftlock_domain::stripe::sample::{Life, Start};
use driftlock_domain::stripe::signature::sign;
use serde_json::{Value, json};

use crate::admin::{Organization, subscription};
use crate::life::{self, now};
use crate::poll::eventually;
use crate::target::Target;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A customer life of this organization that began `ago`, without events yet.
fn begun(organization: &Organization<'_>, ago: Duration) -> Life {
    Life::new(life::params(&organization.id, seed(organization), ago))
}

/// Another one for each organization.
fn seed(organization: &Organization<'_>) -> u64 {
    let digits = organization.id.bytes().rev().take(8);
    digits.fold(0, |seed, digit| seed << 8 | u64::from(digit))
}

/// Delivers events, and waits until all are processed.
fn deliver(target: &Target, events: &[Value]) {
    for event in events {
        let body = event.to_string().into_bytes();
        let signed = sign(target.webhook_secret(), now().secs(), &body);
        let post = target.request("POST", "/webhooks/stripe").header("stripe-signature", &signed);
        post.bytes("application/json", body).send().expect(200);
    }
    for event in events {
        let path = format!("/stripe/events/{}", event["id"].as_str().expect("an id"));
        eventually("the event is processed", || {
            let page = target.admin("GET", &path).send().expect(200).json();
            (page["state"] != "pending").then_some(())
        });
    }
}

fn shown(organization: &Organization<'_>) -> Value {
    organization.admin("GET", "").send().expect(200).json()
}

/// The entitlement as the admin API shows it: the plan in force, and the subscription's id.
fn decided(organization: &Organization<'_>) -> (Value, Value) {
    let shown = shown(organization);
    (shown["entitlement"]["plan"].clone(), shown["subscription"]["id"].clone())
}

pub(super) fn an_abandoned_checkout_leaves_the_free_plan_alone(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    let mut life = begun(&organization, 25 * HOUR);
    let growth = life.params().upgrade.clone();
    life.subscribe(&growth, Start::Unpaid);
    deliver(target, life.events());
    assert_eq!(shown(&organization)["subscription"]["status"], "incomplete");
    for _ in 0..3 {
        key.detect().expect(200);
    }
    let before = life.events().len();
    life.wait(23 * HOUR);
    // Stripe gives up on the first payment: the subscription expires and its invoice is void.
    life.cancel();
    let is_invoice = |event: &&Value| event["data"]["object"]["object"] == "invoice";
    let mut voided = life.events().iter().rfind(is_invoice).expect("it was billed").clone();
    voided["id"] = format!("{}_voided", voided["id"].as_str().expect("an id")).into();
    voided["type"] = "invoice.voided".into();
    voided["created"] = life.now().secs().into();
    voided["data"]["object"]["status"] = "void".into();
    let mut events = life.events()[before..].to_vec();
    events.push(voided);
    deliver(target, &events);
    let shown = shown(&organization);
    assert_eq!(shown["subscription"]["status"], "incomplete_expired", "{shown}");
    assert_eq!(
        (&shown["plan"], &shown["entitlement"]["plan"]),
        (&json!("developer"), &json!("developer"))
    );
    assert_eq!(shown["entitlement"]["may_call"], true, "{shown}");
    key.detect().expect(200);
}

pub(super) fn what_an_operator_set_is_not_undone_by_an_event(target: &Target) {
    let organization = Organization::with(target, json!({"plan": "standard"}));
    let key = organization.key();
    let mut life = begun(&organization, 5 * HOUR);
    let growth = life.params().upgrade.clone();
    life.subscribe(&growth, Start::Unpaid);
    deliver(target, life.events());
    let problem = key.detect().problem(402, "subscription-inactive");
    assert!(problem.contains("first payment"), "the nearest candidate's reason: {problem}");
    let contract = subscription("active", None);
    organization.patch(&json!({ "subscription": contract }));
    eventually("the contract counts", || (key.detect().status == 200).then_some(()));
    let before = life.events().len();
    life.wait(HOUR);
    life.fail();
    life.cancel();
    deliver(target, &life.events()[before..]);
    assert_eq!(decided(&organization), (json!("standard"), contract["id"].clone()));
    key.detect().expect(200);
    organization.patch(&json!({ "subscription": null }));
    eventually("neither contract nor subscription remains", || {
        (key.detect().status == 402).then_some(())
    });
}

pub(super) fn an_upgrade_in_progress_refuses_nothing(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    let mut life = begun(&organization, 2 * HOUR);
    let (standard, growth) = (life.params().price.clone(), life.params().upgrade.clone());
    life.subscribe(&standard, Start::Paid);
    deliver(target, life.events());
    key.detect().expect(200);
    // Another subscription, whose first payment is pending for two seconds.
    life.wait(HOUR);
    let mut before = life.events().len();
    life.subscribe(&growth, Start::Unpaid);
    deliver(target, &life.events()[before..]);
    for _ in 0..10 {
        key.detect().expect(200);
    }
    assert_eq!(decided(&organization).0, "standard");
    before = life.events().len();
    life.wait(Duration::from_secs(2));
    life.pay();
    deliver(target, &life.events()[before..]);
    for _ in 0..10 {
        key.detect().expect(200);
    }
    assert_eq!(decided(&organization).0, "growth");
    assert_eq!(shown(&organization)["plan"], "developer", "its own plan is unchanged");
}

/// Stripe's clock is ahead of the gateway's: the period begins in a minute, and counts already.
pub(super) fn a_period_that_begins_ahead_shows_what_is_counted(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    let mut params = life::params(&organization.id, seed(&organization), Duration::ZERO);
    params.start = now().plus(Duration::from_secs(60));
    let mut life = Life::new(params);
    let standard = life.params().price.clone();
    life.subscribe(&standard, Start::Paid);
    deliver(target, life.events());
    key.detect().expect(200);
    let usage = organization.usage();
    assert_eq!((&usage["units"], &usage["included"]), (&json!(1), &json!(250_000)), "{usage}");
}

pub(super) fn a_contract_counts_before_a_checkout(target: &Target) {
    let contract = subscription("active", None);
    let organization = Organization::with(target, json!({ "subscription": contract }));
    let mut life = begun(&organization, 2 * HOUR);
    let growth = life.params().upgrade.clone();
    life.subscribe(&growth, Start::Unpaid);
    deliver(target, life.events());
    assert_eq!(decided(&organization), (json!("standard"), contract["id"].clone()));
    organization.key().detect().expect(200);
}

pub(super) fn an_uncollectible_invoice_ends_its_dunning(target: &Target) {
    let organization = Organization::with(target, json!({"plan": "standard"}));
    let key = organization.key();
    let mut life = begun(&organization, 41 * DAY);
    let standard = life.params().price.clone();
    life.subscribe(&standard, Start::Paid);
    life.renew();
    life.fail();
    deliver(target, life.events());
    let problem = key.detect().problem(402, "subscription-inactive");
    assert!(problem.contains("grace"), "failed eleven days ago: {problem}");
    let before = life.events().len();
    life.wait(9 * DAY);
    life.write_off();
    deliver(target, &life.events()[before..]);
    assert_eq!(shown(&organization)["subscription"]["status"], "active");
    eventually("it may call", || (key.detect().status == 200).then_some(()));
}

pub(super) fn an_invoice_that_is_sent_has_grace_from_its_due_date(target: &Target) {
    let organization = Organization::with(target, json!({"plan": "standard"}));
    let mut life = begun(&organization, 61 * DAY);
    let standard = life.params().price.clone();
    life.subscribe(&standard, Start::Paid);
    life.renew();
    let due = life.now().plus(30 * DAY);
    life.wait(30 * DAY);
    life.fail();
    let mut events = life.events().to_vec();
    for event in &mut events {
        let object = &mut event["data"]["object"];
        if object["object"] == "invoice" {
            object["due_date"] = due.secs().into();
        }
        object["collection_method"] = "send_invoice".into();
    }
    // Nothing is charged, so that no attempt fails.
    events.retain(|event| event["type"] != "invoice.payment_failed");
    deliver(target, &events);
    let shown = shown(&organization)["subscription"].clone();
    assert_eq!(shown["status"], "past_due", "{shown}");
    assert_eq!(shown["grace_until"], due.plus(7 * DAY).to_string(), "{shown}");
    organization.key().detect().expect(200);
}

pub(super) fn a_newer_subscription_that_fails_takes_nothing_away(target: &Target) {
    let organization = Organization::with(target, json!({"plan": "standard"}));
    let mut life = begun(&organization, 20 * DAY);
    let (standard, growth) = (life.params().price.clone(), life.params().upgrade.clone());
    life.subscribe(&standard, Start::Paid);
    let paid = life.subscriptions()[0].id.clone();
    life.wait(DAY);
    life.subscribe(&growth, Start::Trial(14));
    life.wait(DAY);
    life.pause();
    deliver(target, life.events());
    assert_eq!(decided(&organization), (json!("standard"), json!(paid)));
    organization.key().detect().expect(200);
}

pub(super) fn what_is_bought_several_times_is_included_as_often(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    let mut life = begun(&organization, 2 * HOUR);
    let standard = life.params().price.clone();
    life.subscribe(&standard, Start::Paid);
    let quantity = |events: &[Value], quantity: u64| -> Vec<Value> {
        let mut events = events.to_vec();
        for event in &mut events {
            if event["data"]["object"]["object"] == "subscription" {
                event["data"]["object"]["items"]["data"][0]["quantity"] = quantity.into();
            }
        }
        events
    };
    deliver(target, &quantity(life.events(), 3));
    assert_eq!(shown(&organization)["quota"]["included"], 750_000);
    key.detect().expect(200);
    let before = life.events().len();
    life.wait(HOUR);
    let growth = life.params().upgrade.clone();
    life.change_price(&growth);
    deliver(target, &quantity(&life.events()[before..], 0));
    eventually("a quantity of 0 buys nothing", || (key.detect().status == 402).then_some(()));
    assert_eq!(shown(&organization)["entitlement"]["reason"], "quantity_zero");
}

pub(super) fn a_connected_account_sells_nothing_here(target: &Target) {
    let organization = Organization::with(target, json!({"plan": "standard"}));
    let mut life = begun(&organization, 2 * HOUR);
    let standard = life.params().price.clone();
    life.subscribe(&standard, Start::Paid);
    let mut events = life.events().to_vec();
    for event in &mut events {
        event["account"] = "acct_1Connected".into();
    }
    deliver(target, &events);
    let shown = shown(&organization);
    assert_eq!(
        (&shown["subscription"], &shown["stripe_customer_id"]),
        (&Value::Null, &Value::Null)
    );
    organization.key().detect().problem(402, "subscription-inactive");
}

pub(super) fn a_scheduled_end_takes_effect_although_its_event_is_lost(target: &Target) {
    let organization = Organization::with(target, json!({"plan": "standard"}));
    let mut life = begun(&organization, 31 * DAY);
    let standard = life.params().price.clone();
    life.subscribe(&standard, Start::Paid);
    life.wait(DAY);
    life.schedule_cancellation();
    deliver(target, life.events());
    let shown = shown(&organization);
    assert_eq!(shown["subscription"]["status"], "active", "as Stripe said last: {shown}");
    assert_eq!(shown["entitlement"]["reason"], "subscription_ended", "{shown}");
    organization.key().detect().problem(402, "subscription-inactive");
}
