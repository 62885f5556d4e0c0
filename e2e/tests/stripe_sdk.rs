//! Stripe's own SDK (npm `stripe`, at the version in package-lock.json) and the gateway agree on
//! which deliveries are Stripe's, in both directions.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    pub(crate) mod deliveries;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use driftlock_testkit::node::project;
use serde_json::{Value, json};
use support::backend::Backend;
use support::deliveries::Catcher;
use support::gateway::Gateway;

const SECRET: &str = "whsec_of_the_tests_0123456789abcdef";
const OLD_SECRET: &str = "whsec_before_the_rotation_0123456789";
const OTHER_SECRET: &str = "whsec_somebody_elses_0123456789abcdef";
const SCENARIOS: [&str; 4] = ["signup", "payment-failure", "upgrade", "cancel"];
const VERSIONS: [&str; 3] = ["2024-06-20", "2025-01-27.acacia", "2025-08-27.basil"];

#[test]
fn what_the_sdk_signs_is_accepted_and_refused_as_wanted() {
    let backend = Backend::start();
    let secrets = format!("{SECRET},{OLD_SECRET}");
    let environment = [("ENV_STRIPE_WEBHOOK_SECRET", secrets.as_str())];
    let gateway = Gateway::start_with("", &backend.url, &environment);
    let target = gateway.target();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let event = |number: usize| {
        json!({
            "id": format!("evt_sdk_{number}"), "object": "event", "type": "plan.created",
            "created": since.as_secs(), "livemode": false,
            "data": { "object": { "id": "plan_1", "object": "plan", "nickname": "Größe ✓ \u{1F600}" } },
        })
        .to_string()
    };
    let cases = |payload: &str| {
        sdk(
            "sign",
            &json!({
                "secret": SECRET, "old_secret": OLD_SECRET, "other_secret": OTHER_SECRET,
                "now": since.as_secs(), "payload": payload,
            }),
        )
    };
    let count = cases(&event(0)).as_array().expect("cases").len();
    assert!(count >= 10, "{count} cases");
    for number in 0..count {
        // A new event for each case, because a duplicate would be accepted for another reason.
        let payload = event(number);
        let case = &cases(&payload)[number];
        let post = target.request("POST", "/webhooks/stripe");
        let post = post.header("stripe-signature", case["header"].as_str().expect("a header"));
        let answer = post.bytes("application/json", payload.into_bytes()).send();
        if case["accepted"] == true {
            assert_eq!(answer.expect(200).json()["duplicate"], false, "{}", case["name"]);
        } else {
            answer.problem(400, "invalid-webhook");
            let kept = target.admin("GET", &format!("/stripe/events/evt_sdk_{number}")).send();
            assert_eq!(kept.status, 404, "{} touches nothing", case["name"]);
        }
    }
}

#[test]
fn what_the_gateways_tools_sign_the_sdk_accepts() {
    let catcher = Catcher::start(SECRET);
    let organization = "org_01010101010101010101010101010101";
    let mut deliveries = Vec::new();
    for scenario in SCENARIOS {
        for version in VERSIONS {
            let words = ["--scenario", scenario, "--api-version", version];
            deliveries.extend(catcher.catch(organization, &words));
        }
    }
    assert!(deliveries.len() > 50, "{} deliveries", deliveries.len());
    let pairs: Vec<Value> = deliveries
        .iter()
        .map(|one| json!({ "signature": one.signature, "body": one.body }))
        .collect();
    let verdicts = sdk("verify", &json!({ "secret": SECRET, "deliveries": pairs }));
    for (number, delivery) in deliveries.iter().enumerate() {
        let expected = json!({ "id": delivery.id(), "tampered": null });
        assert_eq!(verdicts[number], expected);
    }
    let verdicts = sdk("verify", &json!({ "secret": OTHER_SECRET, "deliveries": pairs }));
    let refused = verdicts.as_array().expect("verdicts").iter().all(|one| one["id"].is_null());
    assert!(refused, "by another secret none is accepted");
}

/// The SDK's verdicts.
fn sdk(deed: &str, input: &Value) -> Value {
    let root = project();
    let mut node = Command::new("node")
        .arg(root.join("e2e/sdk/stripe.mjs"))
        .arg(deed)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node.js 20 or newer with npm is needed: https://nodejs.org");
    let mut stdin = node.stdin.take().expect("it is piped");
    stdin.write_all(input.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = node.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the SDK's script failed; its message is above");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
