//! A write of an event fails. Other implementations have recorded the event as done or answered
//! 200; the gateway refuses it, and accepts it when Stripe delivers again.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    pub(crate) mod customers;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::time::Duration;

use driftlock_domain::stripe::sample::Scenario;
use driftlock_domain::stripe::signature::sign;
use driftlock_e2e::answer::Answer;
use driftlock_e2e::life::now;
use driftlock_e2e::poll::eventually;
use serde_json::Value;
use support::backend::Backend;
use support::customers::{Customer, are_as_stripe_has_them};
use support::gateway::Gateway;

const SECRET: &str = "whsec_of_the_tests_0123456789abcdef";

#[test]
fn the_dedupe_key_is_not_claimed_before_the_write_nor_its_failure_answered_with_200() {
    let backend = Backend::start();
    let environment = [("ENV_STRIPE_WEBHOOK_SECRET", SECRET)];
    let gateway = Gateway::start_with("[keys]\nfresh_secs = 1\n", &backend.url, &environment);
    let target = gateway.target();
    let ago = Duration::from_secs(7_200);
    let customer = Customer::new(&target, 1, ago, |params| Scenario::Signup.life(params));
    let key = customer.organization.key();
    let deliver = |event: &Value| -> Answer {
        let body = event.to_string().into_bytes();
        let signed = sign(SECRET, now().secs(), &body);
        let post = target.request("POST", "/webhooks/stripe").header("stripe-signature", &signed);
        post.bytes("application/json", body).send()
    };
    let events = customer.life.events();

    gateway.limit_files("1");
    for event in events.iter().chain(events) {
        deliver(event).problem(503, "store-unavailable");
    }
    gateway.limit_files("unlimited");
    for event in events {
        let answer = deliver(event).expect(200).json();
        assert_eq!(answer["duplicate"], false, "nothing of it was noted: {answer}");
    }
    eventually("it has its effect", || (key.detect().status == 200).then_some(()));
    are_as_stripe_has_them(&target, &[customer]);
}
