//! A write that fails, where others had noted the event as done already, or had answered 200: here
//! it is refused, and counts when Stripe delivers again.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "here the gateway is always there")]
    pub(crate) mod deliveries;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use driftlock_e2e::admin::Organization;
use driftlock_e2e::poll::eventually;
use serde_json::json;
use support::backend::Backend;
use support::deliveries::Catcher;
use support::gateway::Gateway;

const SECRET: &str = "whsec_of_the_tests_0123456789abcdef";

#[test]
fn the_dedupe_key_is_not_claimed_before_the_write_nor_its_failure_answered_with_200() {
    let backend = Backend::start();
    let environment = [("ENV_STRIPE_WEBHOOK_SECRET", SECRET)];
    let gateway = Gateway::start_with("[keys]\nfresh_secs = 1\n", &backend.url, &environment);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({ "plan": "standard" }));
    let key = organization.key();
    let deliveries = Catcher::start(SECRET).catch(&organization.id, &["--scenario", "signup"]);

    gateway.limit_files("1");
    for delivery in deliveries.iter().chain(&deliveries) {
        delivery.send(&target).problem(503, "store-unavailable");
    }
    gateway.limit_files("unlimited");
    for delivery in &deliveries {
        let answer = delivery.send(&target).expect(200).json();
        assert_eq!(answer["duplicate"], false, "nothing of it was noted: {answer}");
    }
    eventually("it has its effect", || (key.detect().status == 200).then_some(()));
    let kept = target.admin("GET", "/stripe/events?state=done").send().expect(200).json();
    assert_eq!(kept["data"].as_array().map(Vec::len), Some(deliveries.len()), "{kept}");
}
