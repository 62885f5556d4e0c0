//! Stripe's deliveries, from the signed bytes to their effect on requests.

use std::time::Duration;

use driftlock_domain::stripe::sample::{Life, LifeParams, SamplePrice, Scenario};
use driftlock_domain::stripe::sample::{duplicate, shuffle};
use driftlock_domain::stripe::signature::sign;
use serde_json::{Value, json};

use crate::admin::{Organization, pages};
use crate::answer::Answer;
use crate::life::{self, now};
use crate::poll::eventually;
use crate::raw;
use crate::signatures;
use crate::target::Target;

const HOUR: Duration = Duration::from_secs(3_600);

/// An organization on a paid plan: without a subscription its requests are refused.
fn standard(target: &Target) -> Organization<'_> {
    Organization::with(target, json!({ "plan": "standard" }))
}

/// Parameters of a customer life that began `ago`.
fn params(organization: &Organization<'_>, price_id: &str, ago: Duration) -> LifeParams {
    // Ids derive from the seed, and several suites may run against one gateway.
    let digits = organization.id.bytes().rev().take(8);
    let seed = digits.fold(0, |seed, digit| seed << 8 | u64::from(digit));
    let usual = life::params(&organization.id, seed, ago);
    let price = SamplePrice { id: price_id.to_owned(), ..usual.price };
    LifeParams { price, ..usual }
}

/// A sign-up two hours ago.
fn signup(organization: &Organization<'_>, price_id: &str) -> Life {
    Scenario::Signup.life(params(organization, price_id, 2 * HOUR))
}

fn deliver(target: &Target, event: &Value) -> Answer {
    let body = event.to_string().into_bytes();
    let signed = sign(target.webhook_secret(), now().secs(), &body);
    let post = target.request("POST", "/webhooks/stripe").header("stripe-signature", &signed);
    post.bytes("application/json", body).send()
}

fn shown(organization: &Organization<'_>) -> Value {
    organization.admin("GET", "").send().expect(200).json()
}

pub(super) fn a_signup_admits_requests_in_any_order(target: &Target) {
    let organization = standard(target);
    let key = organization.key();
    key.detect().problem(402, "subscription-inactive");
    let mut events = signup(&organization, "price_standard").into_events();
    let count = events.len();
    events = duplicate(events, 7);
    shuffle(&mut events, 7);
    let answers = events.iter().map(|event| deliver(target, event).expect(200).json());
    let news = answers.filter(|answer| answer["duplicate"] == false).count();
    assert_eq!(news, count, "each is new once");
    eventually("the key may", || (key.detect().status == 200).then_some(()));
    let invoices = organization.admin("GET", "/invoices").send().expect(200).json();
    assert_eq!(invoices["data"][0]["status"], "paid", "{invoices}");
    let rows = organization.audit();
    let subscribed = rows.iter().filter(|row| row["action"] == "billing.subscribed").count();
    assert_eq!(subscribed, 1, "{rows:?}");
}

pub(super) fn a_failed_payment_is_grace_and_an_alert(target: &Target) {
    let organization = standard(target);
    // Began more than a month ago, so the next invoice is due.
    let mut life =
        Scenario::Signup.life(params(&organization, "price_standard", (31 * 24 + 2) * HOUR));
    life.renew();
    life.wait(HOUR);
    life.fail();
    for event in life.events() {
        deliver(target, event).expect(200);
    }
    eventually("the payment is known to have failed", || {
        (shown(&organization)["subscription"]["status"] == "past_due").then_some(())
    });
    let subscription = shown(&organization)["subscription"].clone();
    assert!(subscription["grace_until"].is_string(), "{subscription}");
    organization.key().detect().expect(200);
    let alerts = organization.admin("GET", "/alerts").send().expect(200).json();
    let kinds = alerts["data"].as_array().expect("a list").iter();
    let failed = kinds.filter(|alert| alert["kind"] == "payment_failed").count();
    assert_eq!(failed, 1, "once for the period: {alerts}");
}

pub(super) fn a_person_clears_a_dispute(target: &Target) {
    let organization = standard(target);
    let mut life = signup(&organization, "price_standard");
    life.dispute();
    for event in life.events() {
        deliver(target, event).expect(200);
    }
    eventually("it is disputed", || {
        (shown(&organization)["billing"]["disputed"] == true).then_some(())
    });
    let clear = |body: Value| organization.admin("POST", "/disputes/clear").json(&body).send();
    clear(json!({})).problem(400, "invalid-request");
    clear(json!({"reason": " "})).problem(400, "invalid-request");
    let other = json!({"reason": "none of its", "dispute": "dp_none"});
    clear(other).problem(404, "not-found");
    let open = shown(&organization)["billing"]["disputes"].clone();
    let answer = clear(json!({"reason": "settled by telephone"})).expect(200).json();
    assert_eq!((&answer["cleared"], &answer["waiting"]), (&open, &Value::Null), "{answer}");
    assert_eq!(answer["customer"], life.customer(), "{answer}");
    let billing = shown(&organization)["billing"].clone();
    assert_eq!((&billing["disputed"], &billing["disputes"]), (&json!(false), &json!([])));
    let again = clear(json!({"reason": "settled by telephone"})).expect(200).json();
    assert_eq!(again["cleared"], json!([]), "once: {again}");
    // Stripe delivers the dispute's event again: the flag stays cleared.
    let opened = life.events().last().expect("the dispute");
    assert_eq!(deliver(target, opened).expect(200).json()["duplicate"], true);
    assert_eq!(shown(&organization)["billing"]["disputed"], false);
    let rows = organization.audit();
    let rows: Vec<&Value> =
        rows.iter().filter(|row| row["action"] == "billing.dispute_cleared").collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["actor"], &rows[0]["details"]["dispute"]), (&json!("admin"), &open[0]));
    assert_eq!(rows[0]["details"]["reason"], "settled by telephone");
    let verdict = organization.admin("GET", "/audit/verify").send().expect(200).json();
    assert_eq!(verdict["ok"], true, "{verdict}");
}

pub(super) fn an_ended_subscription_refuses_requests(target: &Target) {
    let organization = standard(target);
    let mut life = signup(&organization, "price_standard");
    life.cancel();
    // Delivered in reverse order: older events do not undo newer ones.
    for event in life.events().iter().rev() {
        deliver(target, event).expect(200);
    }
    eventually("it is canceled", || {
        (shown(&organization)["subscription"]["status"] == "canceled").then_some(())
    });
    organization.key().detect().problem(402, "subscription-inactive");
}

pub(super) fn an_unknown_price_is_a_dead_letter_that_names_it(target: &Target) {
    let organization = standard(target);
    let life = signup(&organization, "price_mystery");
    let created =
        life.events().iter().find(|event| event["type"] == "customer.subscription.created");
    let created = created.expect("a signup has one");
    for event in life.events() {
        deliver(target, event).expect(200);
    }
    let dead = eventually("it is given up", || {
        let all = pages(target, "/stripe/events?state=dead", 500);
        all.into_iter().find(|found| found["id"] == created["id"])
    });
    assert!(dead["error"].as_str().is_some_and(|text| text.contains("price_mystery")), "{dead}");
    organization.key().detect().problem(402, "subscription-inactive");
}

pub(super) fn every_signature_case_has_its_verdict(target: &Target) {
    signatures::judge(target, target.webhook_secret(), None);
}

pub(super) fn deliveries_not_from_stripe_are_refused(target: &Target) {
    let organization = standard(target);
    let life = signup(&organization, "price_standard");
    let body = life.events()[0].to_string().into_bytes();
    for path in ["/", "/webhooks/stripe"] {
        let post = || target.request("POST", path);
        let problem = post().json(&json!({})).send().problem(400, "invalid-webhook");
        assert!(problem.contains("Stripe-Signature"), "{problem}");
        let signed = sign("whsec_somebody_elses_0123456789abcdef", now().secs(), &body);
        let forged = post().header("stripe-signature", &signed);
        forged.bytes("application/json", body.clone()).send().problem(400, "invalid-webhook");
        let old = sign(target.webhook_secret(), now().secs() - 301, &body);
        let stale = post().header("stripe-signature", &old);
        stale.bytes("application/json", body.clone()).send().problem(400, "invalid-webhook");
        let text = post().bytes("text/plain", b"{}".to_vec()).send();
        text.problem(415, "unsupported-media-type");
        let line = format!("POST {path} HTTP/1.1");
        let lines = [("content-type", "application/json"), ("content-length", "524289")];
        raw::head(target, &line, &lines).problem(413, "body-too-large");
        target.request("GET", path).send().problem(405, "method-not-allowed");
    }
    assert_eq!(shown(&organization)["subscription"], Value::Null);
}
