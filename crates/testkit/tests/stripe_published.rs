//! Compares the double's answers with Stripe's published objects in the folder
//! `DRIFTLOCK_STRIPE_FIXTURES`: `cargo test -p driftlock-testkit --test stripe_published`.

#[path = "support"]
mod support {
    pub(crate) mod double;
}

use std::path::PathBuf;

use driftlock_domain::stripe::sample::ApiShape;
use serde_json::Value;
use support::double::{double, get, meter_form, post};

fn checkout_form(customer: &str) -> String {
    format!(
        "customer={customer}&mode=subscription&line_items[0][price]=price_standard\
         &success_url=https://a.example/"
    )
}

#[test]
fn answers_have_the_shapes_of_the_published_objects() {
    for shape in ApiShape::ALL {
        let (double, life) = double(shape);
        let of = life.customer();
        let first = |path: &str| get(&double, shape, path)["data"][0].clone();
        let subscription = first(&format!("/v1/subscriptions?customer={of}&status=all"));
        compare(&format!("subscription-OBJECT__{shape}"), &subscription);
        let invoice = first(&format!("/v1/invoices?customer={of}"));
        compare(&format!("invoice-OBJECT__{shape}"), &invoice);
    }
    let (double, life) = double(ApiShape::Basil);
    let form = checkout_form(life.customer());
    let (status, session) = post(&double, "a", "/v1/checkout/sessions", &form);
    assert_eq!(status, 200, "{session}");
    compare("checkout.session-OBJECT__2026-07-29.dahlia", &session);
    let form = meter_form(life.customer(), "dl-1", life.now());
    let (_, event) = post(&double, "b", "/v1/billing/meter_events", &form);
    compare("billing.meter_event-OBJECT__2026-07-29.dahlia", &event);
}

/// Checks that the answer has every member of the published object, also in the rows of lists, and
/// that shared members have the same JSON type.
fn compare(name: &str, answer: &Value) {
    let folder = std::env::var_os("DRIFTLOCK_STRIPE_FIXTURES").map(PathBuf::from);
    let folder = folder.expect("DRIFTLOCK_STRIPE_FIXTURES is set");
    let text =
        std::fs::read(folder.join(format!("openapi__{name}.json"))).expect("a published object");
    let original: Value = serde_json::from_slice(&text).expect("JSON");
    let mut missing = Vec::new();
    find_missing("", answer, &original, &mut missing);
    assert_eq!(missing, [""; 0], "{name}: published, and not in our answer");
    assert_same_kinds(name, "", answer, &original);
}

fn find_missing(at: &str, answer: &Value, original: &Value, missing: &mut Vec<String>) {
    match (answer, original) {
        (Value::Object(answer), Value::Object(original)) => {
            for (member, value) in original {
                let place = format!("{at}.{member}");
                match answer.get(member) {
                    // The account's own data.
                    Some(_) if member == "metadata" => {}
                    Some(own) => find_missing(&place, own, value, missing),
                    None => missing.push(place),
                }
            }
        }
        (Value::Array(answer), Value::Array(original)) => {
            if let (Some(answer), Some(original)) = (answer.first(), original.first()) {
                find_missing(&format!("{at}[]"), answer, original, missing);
            }
        }
        _ => {}
    }
}

fn assert_same_kinds(name: &str, at: &str, answer: &Value, original: &Value) {
    match (answer, original) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(answer), Value::Object(original)) => {
            for (member, value) in answer {
                // The account's own data.
                if let Some(original) = original.get(member).filter(|_| member != "metadata") {
                    assert_same_kinds(name, &format!("{at}.{member}"), value, original);
                }
            }
        }
        (Value::Array(answer), Value::Array(original)) => {
            if let (Some(answer), Some(original)) = (answer.first(), original.first()) {
                assert_same_kinds(name, &format!("{at}[]"), answer, original);
            }
        }
        (answer, original) => {
            let same = std::mem::discriminant(answer) == std::mem::discriminant(original);
            assert!(same, "{name}{at}: ours is {answer}, theirs {original}");
        }
    }
}
