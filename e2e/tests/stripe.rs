//! Stripe's deliveries to the native server, from the signed bytes to their effect on requests.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::process::Command;

use driftlock_e2e::admin::{Key, Organization};
use driftlock_e2e::poll::eventually;
use driftlock_e2e::raw;
use driftlock_e2e::signatures;
use driftlock_e2e::target::Target;
use serde_json::{Value, json};
use support::backend::Backend;
use support::gateway::{ADMIN_TOKEN, Gateway};

const SECRET: &str = "whsec_of_the_tests_0123456789abcdef";
const OLD_SECRET: &str = "whsec_before_the_rotation_0123456789";

fn with(act: impl FnOnce(&Gateway, &Target, &Organization<'_>, &Key<'_>)) {
    let backend = Backend::start();
    let environment = format!("{SECRET},{OLD_SECRET}");
    let environment = [("ENV_STRIPE_WEBHOOK_SECRET", environment.as_str())];
    let gateway = Gateway::start_with("[keys]\nfresh_secs = 1\n", &backend.url, &environment);
    let target = gateway.target();
    // A paid plan without a subscription: requests are refused until Stripe reports one.
    let organization = Organization::with(&target, json!({"plan": "standard"}));
    let key = organization.key();
    act(&gateway, &target, &organization, &key);
}

/// Runs `driftlock stripe trigger`; returns whether all were accepted, and the answers.
fn trigger(gateway: &Gateway, secret: &str, organization: &str, what: &[&str]) -> (bool, Value) {
    let output = Command::new(support::process::build())
        .args(["stripe", "trigger", "--json", "--organization", organization])
        .args(["--url", &format!("http://{}", gateway.address())])
        .args(what)
        .env("ENV_STRIPE_WEBHOOK_SECRET", secret)
        .env("ENV_ADMIN_TOKEN", ADMIN_TOKEN)
        .output()
        .expect("it runs");
    let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.success(), answer)
}

fn settled(target: &Target) {
    eventually("everything is processed", || {
        let page = target.admin("GET", "/stripe/events?state=pending").send();
        page.expect(200).json()["data"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
}

#[test]
fn a_signup_opens_the_door_in_whatever_order_it_comes() {
    with(|gateway, target, organization, key| {
        key.detect().problem(402, "subscription-inactive");
        let order = ["--scenario", "signup", "--seed", "3", "--shuffle", "5", "--duplicate"];
        let (taken, answers) = trigger(gateway, SECRET, &organization.id, &order);
        assert!(taken, "{answers}");
        settled(target);
        eventually("the key may", || (key.detect().status == 200).then_some(()));
        let shown = organization.admin("GET", "").send().expect(200).json();
        assert_eq!(shown["subscription"]["status"], "active", "{shown}");
        assert_eq!(shown["subscription"]["plan"], "standard");
        let invoices = organization.admin("GET", "/invoices").send().expect(200).json();
        assert_eq!(invoices["data"][0]["status"], "paid", "{invoices}");
        let actions: Vec<Value> = organization.audit();
        assert!(actions.iter().any(|row| row["action"] == "billing.subscribed"));

        // The same again, signed with the former secret: only duplicates.
        let rows = organization.audit().len();
        let (taken, answers) = trigger(gateway, OLD_SECRET, &organization.id, &order);
        let all = answers["data"].as_array().expect("answers");
        assert!(taken && all.iter().all(|event| event["answer"]["duplicate"] == true), "{answers}");
        let billing = organization.audit().len() - rows;
        assert_eq!(billing, 0, "a duplicate changes nothing");
    });
}

#[test]
fn every_signature_case_has_its_verdict_while_a_secret_is_rotated() {
    with(|_, target, _, _| {
        let judged = signatures::judge(target, SECRET, Some(OLD_SECRET));
        assert!(judged > 50, "{judged} cases");
    });
}

#[test]
fn an_end_closes_it_again() {
    with(|gateway, target, organization, key| {
        let (taken, answers) =
            trigger(gateway, SECRET, &organization.id, &["--scenario", "cancel", "--shuffle", "9"]);
        assert!(taken, "{answers}");
        settled(target);
        let shown = organization.admin("GET", "").send().expect(200).json();
        assert_eq!(shown["subscription"]["status"], "canceled", "{shown}");
        key.detect().problem(402, "subscription-inactive");
    });
}

#[test]
fn what_is_triggered_next_goes_on_from_what_is_there() {
    with(|gateway, target, organization, key| {
        let run = |organization: &str, what: &[&str]| {
            let (taken, answers) = trigger(gateway, SECRET, organization, what);
            let all = answers["data"].as_array().expect("answers").clone();
            let new = |event: &Value| event["answer"]["duplicate"] == false;
            assert!(taken && all.iter().all(new), "{what:?}: {answers}");
            assert!(all.iter().all(|event| event["state"] == "done"), "{what:?}: {answers}");
            answers
        };
        let shown = |of: &Organization<'_>| of.admin("GET", "").send().expect(200).json();
        run(&organization.id, &["--scenario", "signup"]);
        let first = shown(organization);
        assert_eq!(first["subscription"]["plan"], "standard", "{first}");

        // A failed payment of the same subscription has grace time until it is paid.
        run(&organization.id, &["invoice.payment_failed"]);
        let failed = shown(organization);
        assert_eq!(failed["subscription"]["id"], first["subscription"]["id"], "{failed}");
        assert!(failed["subscription"]["grace_until"].is_string(), "{failed}");
        run(&organization.id, &["invoice.paid"]);
        let paid = shown(organization);
        assert_eq!(paid["subscription"]["grace_until"], Value::Null, "{paid}");

        // An upgrade continues the existing sign-up.
        run(&organization.id, &["--scenario", "upgrade", "--shuffle", "2"]);
        let upgraded = shown(organization);
        assert_eq!(upgraded["subscription"]["plan"], "growth", "{upgraded}");
        assert_eq!(upgraded["subscription"]["id"], first["subscription"]["id"]);
        assert_eq!(upgraded["stripe_customer_id"], first["stripe_customer_id"]);
        let again = trigger(gateway, SECRET, &organization.id, &["--scenario", "upgrade"]);
        assert!(!again.0, "it buys that already: {}", again.1);
        run(&organization.id, &["--scenario", "payment-failure"]);
        assert_eq!(shown(organization)["subscription"]["plan"], "growth");
        eventually("the key may", || (key.detect().status == 200).then_some(()));

        // Another organization with the same seed is another customer.
        let seeded = ["--scenario", "signup", "--seed", "1"];
        let other = Organization::with(target, json!({"plan": "standard"}));
        run(&organization.id, &seeded);
        run(&other.id, &seeded);
        assert_eq!(shown(&other)["subscription"]["status"], "active");
        assert_ne!(shown(&other)["stripe_customer_id"], first["stripe_customer_id"]);

        // The printed seed repeats a run: only duplicates.
        let answers = run(&other.id, &["invoice.payment_failed"]);
        let seed = answers["seed"].to_string();
        let repeated =
            trigger(gateway, SECRET, &other.id, &["invoice.payment_failed", "--seed", &seed]).1;
        assert_eq!(repeated["data"][0]["id"], answers["data"][0]["id"]);
        assert_eq!(repeated["data"][0]["answer"]["duplicate"], true, "{repeated}");

        run(&other.id, &["--scenario", "cancel"]);
        assert_eq!(shown(&other)["subscription"]["status"], "canceled");
        run(&other.id, &["--scenario", "signup"]);
        assert_eq!(shown(&other)["subscription"]["status"], "active", "it comes back");
    });
}

#[test]
fn an_unknown_price_is_a_dead_letter_that_names_it() {
    with(|gateway, target, organization, key| {
        let signup = ["--scenario", "signup", "--price", "price_mystery"];
        assert!(trigger(gateway, SECRET, &organization.id, &signup).0, "it is kept");
        settled(target);
        let dead = target.admin("GET", "/stripe/events?state=dead").send().expect(200).json();
        let rows = dead["data"].as_array().expect("rows");
        assert!(!rows.is_empty());
        let named =
            |row: &Value| row["error"].as_str().is_some_and(|e| e.contains("price_mystery"));
        assert!(rows.iter().all(named), "{dead}");
        let id = rows[0]["id"].as_str().expect("an id");
        let path = format!("/stripe/events/{id}/replay");
        let replayed = target.admin("POST", &path).send().expect(200).json();
        assert_eq!(replayed["state"], "dead", "the configuration is still the same: {replayed}");
        key.detect().problem(402, "subscription-inactive");
    });
}

#[test]
fn deliveries_not_from_stripe_are_refused_and_change_nothing() {
    with(|gateway, target, organization, _| {
        let wrong = "whsec_somebody_elses_0123456789abcdef";
        let (taken, answers) =
            trigger(gateway, wrong, &organization.id, &["customer.subscription.created"]);
        assert!(!taken);
        assert_eq!(answers["data"][0]["status"], 400, "{answers}");
        for path in ["/", "/webhooks/stripe"] {
            let post = || target.request("POST", path);
            let bare = post().json(&json!({})).send();
            let problem = bare.problem(400, "invalid-webhook");
            assert!(problem.contains("Stripe-Signature"), "{problem}");
            let form = post().bytes("text/plain", b"{}".to_vec()).send();
            form.problem(415, "unsupported-media-type");
            target.request("GET", path).send().problem(405, "method-not-allowed");
            let line = format!("POST {path} HTTP/1.1");
            let lines = [("content-type", "application/json"), ("content-length", "524289")];
            let long = raw::head(target, &line, &lines);
            long.problem(413, "body-too-large");
        }
        let kept = target.admin("GET", "/stripe/events").send().expect(200).json();
        assert_eq!(kept["data"], json!([]), "nothing was kept");
    });
}

#[test]
fn without_a_secret_stripe_is_asked_to_come_back() {
    let backend = Backend::start();
    let gateway = Gateway::start("", &backend.url);
    let target = gateway.target();
    let answer = target.request("POST", "/").json(&json!({})).send();
    answer.problem(503, "webhook-unconfigured");
    assert!(answer.number("retry-after") > 0);
}
