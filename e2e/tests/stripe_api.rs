//! With a secret key: reading from Stripe, meter reports and reconciliation, with the native server
//! and the double.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::process::Command;
use std::time::Duration;

use driftlock_domain::period::Period;
use driftlock_domain::stripe::sample::{Life, LifeParams, Start};
use driftlock_domain::stripe::signature::sign;
use driftlock_domain::time::Timestamp;
use driftlock_e2e::admin::Organization;
use driftlock_e2e::life::{now, params};
use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use driftlock_testkit::stripe::{SECRET_KEY, StripeDouble, serve};
use serde_json::{Value, json};
use support::backend::Backend;
use support::gateway::{ADMIN_TOKEN, Gateway};

const SECRET: &str = "whsec_of_the_tests_0123456789abcdef";

fn with(act: impl FnOnce(&Gateway, &Target, &StripeDouble, &Organization<'_>)) {
    let double = StripeDouble::new(1, now);
    let served = serve(double.clone());
    let backend = Backend::start();
    let base = format!("http://{}", served.address);
    let environment = [
        ("ENV_STRIPE_WEBHOOK_SECRET", SECRET),
        ("ENV_STRIPE_SECRET_KEY", SECRET_KEY),
        ("ENV_STRIPE_API_BASE", base.as_str()),
    ];
    let gateway = Gateway::start_with("[keys]\nfresh_secs = 1\n", &backend.url, &environment);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"plan": "standard"}));
    act(&gateway, &target, &double, &organization);
}

fn life(organization: &Organization<'_>, seed: u64) -> Life {
    Life::new(params(&organization.id, seed, Duration::from_secs(7_200)))
}

fn deliver(target: &Target, event: &Value) {
    let body = event.to_string().into_bytes();
    let signed = sign(SECRET, now().secs(), &body);
    let post = target.request("POST", "/webhooks/stripe").header("stripe-signature", &signed);
    post.bytes("application/json", body).send().expect(200);
}

fn shown(organization: &Organization<'_>) -> Value {
    organization.admin("GET", "").send().expect(200).json()
}

#[test]
fn one_event_is_enough_to_learn_how_a_customer_stands() {
    with(|_, target, double, organization| {
        let mut life = life(organization, 1);
        let standard = life.params().price.clone();
        life.subscribe(&standard, Start::Paid);
        let growth = life.params().upgrade.clone();
        life.change_price(&growth);
        double.put(&life);
        // Only the oldest event arrives; Stripe's current state counts.
        deliver(target, &life.events()[0]);
        eventually("the plan is Stripe's", || {
            (shown(organization)["subscription"]["plan"] == "growth").then_some(())
        });
        let calls = double.calls();
        assert!(calls.contains(&"GET /v1/subscriptions".to_owned()), "{calls:?}");
        let invoices = organization.admin("GET", "/invoices").send().expect(200).json();
        assert_eq!(invoices["data"].as_array().map(Vec::len), Some(1), "{invoices}");

        // A dispute names a charge; only Stripe knows its customer.
        life.dispute();
        let mut dispute = life.events().last().expect("an event").clone();
        let charge = "ch_of_the_test";
        dispute["data"]["object"]["charge"] = json!(charge);
        dispute["data"]["object"]["customer"] = Value::Null;
        double.put_charge(charge, life.customer());
        deliver(target, &dispute);
        eventually("it is known as disputed", || {
            (shown(organization)["billing"]["disputed"] == true).then_some(())
        });
        let alerts = organization.admin("GET", "/alerts").send().expect(200).json();
        assert_eq!(alerts["data"][0]["kind"], "charge_disputed", "{alerts}");
    });
}

#[test]
fn links_lead_to_stripes_pages() {
    with(|_, _, double, organization| {
        let post = |path: &str, body: Value| organization.admin("POST", path).json(&body).send();
        post("/portal", json!({"return_url": "https://a.example/"})).problem(409, "conflict");
        let wanted = json!({
            "plan": "standard",
            "success_url": "https://a.example/thanks",
            "cancel_url": "https://a.example/",
        });
        let made = post("/checkout", wanted.clone()).expect(201).json();
        assert!(made["url"].as_str().is_some_and(|url| url.starts_with("https://checkout.")));
        let customer = shown(organization)["stripe_customer_id"].clone();
        assert_eq!(made["stripe_customer_id"], customer, "made once, and kept");
        post("/checkout", wanted.clone()).expect(201);
        let customers = double.calls().iter().filter(|call| *call == "POST /v1/customers").count();
        assert_eq!(customers, 1, "at the first checkout");
        let portal = post("/portal", json!({"return_url": "https://a.example/"}));
        assert!(portal.expect(201).json()["url"].as_str().is_some());

        let mut wrong = wanted;
        wrong["plan"] = json!("platinum");
        let problem = post("/checkout", wrong).problem(400, "invalid-request");
        assert!(problem.contains("platinum"), "{problem}");
        let wrong = json!({"return_url": "a.example"});
        post("/portal", wrong).problem(400, "invalid-request");
    });
}

#[test]
fn a_live_subscription_is_changed_in_the_portal_and_not_bought_twice() {
    with(|_, target, double, organization| {
        let mut life = life(organization, 3);
        let standard = life.params().price.clone();
        life.subscribe(&standard, Start::Paid);
        double.put(&life);
        deliver(target, &life.events()[0]);
        let live = eventually("it is subscribed", || {
            shown(organization)["subscription"]["id"].as_str().map(str::to_owned)
        });
        let wanted = json!({
            "plan": "growth",
            "success_url": "https://a.example/thanks",
            "cancel_url": "https://a.example/",
        });
        let refused = organization.admin("POST", "/checkout").json(&wanted).send();
        let problem = refused.problem(409, "conflict");
        assert!(problem.contains(&live) && problem.contains("portal"), "{problem}");

        // Without Stripe's preview the gateway's own figures are shown.
        double.set_outage(Some(Period { start: now(), end: Timestamp::MAX }));
        let coming = organization.admin("GET", "/invoices/upcoming").send().expect(200).json();
        assert_eq!(
            (&coming["amount_cents"], &coming["stripe_preview"]),
            (&json!(4_900), &Value::Null)
        );
        assert!(coming["stripe_error"].is_string(), "{coming}");
    });
}

#[test]
fn a_customer_is_one_organizations_and_the_operators_choice_counts() {
    with(|_, target, double, organization| {
        let mut life = life(organization, 4);
        let standard = life.params().price.clone();
        life.subscribe(&standard, Start::Paid);
        double.put(&life);
        let link = |of: &Organization<'_>, customer: Value| {
            of.admin("PATCH", "").json(&json!({ "stripe_customer_id": customer })).send()
        };
        link(organization, json!(life.customer())).expect(200);
        let other = Organization::with(target, json!({"plan": "standard"}));
        let problem = link(&other, json!(life.customer())).problem(409, "conflict");
        assert!(problem.contains(&organization.id), "it names whose it is: {problem}");
        link(organization, json!("cus_another")).expect(200);
        link(&other, json!(life.customer())).expect(200);
        eventually("it takes effect", || {
            (shown(&other)["subscription"]["status"] == "active").then_some(())
        });
        assert_eq!(shown(organization)["stripe_customer_id"], "cus_another");
    });
}

#[test]
fn a_comparison_repairs_what_was_missed_and_tells_what_it_cannot() {
    with(|gateway, _, double, organization| {
        let mut life = life(organization, 2);
        let standard = life.params().price.clone();
        life.subscribe(&standard, Start::Paid);
        let patch = json!({ "stripe_customer_id": life.customer() });
        organization.admin("PATCH", "").json(&patch).send().expect(200);
        // The link takes effect at once; no event reports what the customer buys later.
        eventually("the customer was asked for", || {
            double.calls().contains(&"GET /v1/invoices".to_owned()).then_some(())
        });
        // No event arrived; the gateway reconciles once an hour, the first time now.
        eventually("its own comparison is over", || {
            gateway.log().contains("reconciliation with Stripe found").then_some(())
        });
        double.put(&life);
        let (ok, found) = reconcile(gateway);
        assert!(ok, "{found}");
        assert_eq!(found["repaired"][0]["changes"][0], "billing.subscribed", "{found}");
        assert_eq!(shown(organization)["subscription"]["status"], "active");
        let (ok, again) = reconcile(gateway);
        assert!(ok && again["repaired"] == json!([]), "{again}");

        let mut stranger = Life::new(LifeParams { seed: 99, ..life.params().clone() });
        stranger.subscribe(&standard, Start::Paid);
        double.put(&stranger);
        let (ok, found) = reconcile(gateway);
        assert!(!ok && found["unlinked"][0] == stranger.customer(), "{found}");

        let coming = organization.admin("GET", "/invoices/upcoming").send().expect(200).json();
        assert_eq!(coming["amount_cents"], 4_900, "{coming}");
        assert_eq!(coming["stripe_preview"]["total"], 4_900, "{coming}");
    });
}

/// Runs `driftlock stripe reconcile --json`.
fn reconcile(gateway: &Gateway) -> (bool, Value) {
    let output = Command::new(support::process::build())
        .args(["stripe", "reconcile", "--json", "--url"])
        .arg(format!("http://{}", gateway.address()))
        .env("ENV_ADMIN_TOKEN", ADMIN_TOKEN)
        .output()
        .expect("it runs");
    let found = serde_json::from_slice(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), found.unwrap_or_else(|_| panic!("no JSON: {said}")))
}
