//! The double's answers follow Stripe's documentation, in the shapes of three API versions.

#[path = "support"]
mod support {
    pub(crate) mod double;
}

use driftlock_domain::stripe::sample::ApiShape;
use driftlock_domain::time::Timestamp;
use http::Request;
use serde_json::json;
use support::double::{ask, double, get, meter_form, post};

#[test]
fn subscription_and_invoice_have_the_shapes_of_the_version_that_is_asked_for() {
    for shape in ApiShape::ALL {
        let (double, life) = double(shape);
        let of = life.customer();
        let path = format!("/v1/subscriptions?customer={of}&status=all");
        let list = get(&double, shape, &path);
        assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)));
        let subscription = &list["data"][0];
        let item = &subscription["items"]["data"][0];
        let in_item = shape == ApiShape::Basil;
        assert_eq!(item["current_period_end"].is_i64(), in_item, "{shape}: {item}");
        assert_eq!(subscription["current_period_end"].is_i64(), !in_item, "{shape}");
        let invoice = &get(&double, shape, &format!("/v1/invoices?customer={of}"))["data"][0];
        assert_eq!(invoice["parent"].is_object(), in_item, "{shape}: {invoice}");
        assert_eq!(invoice["subscription"].is_string(), !in_item, "{shape}: {invoice}");
    }
}

#[test]
fn lists_come_in_pages() {
    let (double, life) = double(ApiShape::Basil);
    let all = format!("/v1/invoices?customer={}", life.customer());
    let count = get(&double, ApiShape::Basil, &all)["data"].as_array().expect("rows").len();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&double, ApiShape::Basil, &format!("{all}&limit=1{after}"));
        let id = page["data"][0]["id"].as_str().expect("an id").to_owned();
        after = format!("&starting_after={id}");
        seen.push(id);
        if page["has_more"] == false {
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), count);
    let refused = ask(&double, Request::get("/v1/invoices?limit=101"), "");
    assert_eq!((refused.0, &refused.1["error"]["type"]), (400, &json!("invalid_request_error")));
}

#[test]
fn an_identifier_counts_once_and_its_time_is_bounded() {
    let (double, life) = double(ApiShape::Basil);
    let (of, path) = (life.customer(), "/v1/billing/meter_events");
    let taken = post(&double, "a", path, &meter_form(of, "dl-1", life.now()));
    assert_eq!((taken.0, &taken.1["object"]), (200, &json!("billing.meter_event")));
    let again = post(&double, "b", path, &meter_form(of, "dl-1", life.now()));
    let message = again.1["error"]["message"].as_str().expect("a message");
    assert!(again.0 == 400 && message.contains("already exists"), "{message}");
    let replayed = post(&double, "a", path, &meter_form(of, "dl-1", life.now()));
    assert_eq!(replayed, taken, "the same idempotency key has the same answer");
    let (status, _) = post(&double, "a", path, &meter_form(of, "dl-2", life.now()));
    assert_eq!(status, 400, "an idempotency key is of one call");
    for days in [-36, 1] {
        let at = life.now().secs() + days * 86_400;
        let far = meter_form(of, "dl-3", Timestamp::from_secs(at));
        assert_eq!(post(&double, &format!("far{days}"), path, &far).0, 400, "{days} days");
    }
    let (status, _) = post(&double, "c", path, &meter_form("cus_unknown", "dl-4", life.now()));
    assert_eq!(status, 404);
}
