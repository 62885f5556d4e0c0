//! The double's answers: what Stripe documents of them, in the shapes of three API versions, and
//! beside Stripe's published objects where `DRIFTLOCK_STRIPE_FIXTURES` names their folder
//! (`cargo test -p driftlock-testkit --test stripe_double -- --ignored`).

use std::path::PathBuf;

use bytes::Bytes;
use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Scenario};
use driftlock_domain::time::Timestamp;
use driftlock_testkit::make::now;
use driftlock_testkit::stripe::{METER_EVENT_NAME, SECRET_KEY, StripeDouble};
use http::Request;
use serde_json::{Value, json};

fn params(shape: ApiShape) -> LifeParams {
    let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
    LifeParams {
        seed: 5,
        shape,
        livemode: false,
        organization: "org_00000000000000000000000000000001".to_owned(),
        customer: None,
        price: price("standard", 4_900),
        upgrade: price("growth", 24_900),
        start: now(),
    }
}

/// A double that knows one customer, whose payment failed once.
fn double(shape: ApiShape) -> (StripeDouble, Life) {
    let life = Scenario::PaymentFailure.life(params(shape));
    let at = life.now();
    let double = StripeDouble::new(1, move || at);
    double.put(&life);
    (double, life)
}

fn ask(double: &StripeDouble, request: http::request::Builder, form: &str) -> (u16, Value) {
    let request = request.header("authorization", format!("Bearer {SECRET_KEY}"));
    let request: Request<Bytes> = request.body(form.to_owned().into()).expect("a request");
    let answer = double.answer(&request).expect("it does not break");
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).expect("JSON"))
}

fn get(double: &StripeDouble, shape: ApiShape, path: &str) -> Value {
    let request = Request::get(path).header("stripe-version", shape.as_str());
    let (status, body) = ask(double, request, "");
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn post(double: &StripeDouble, key: &str, path: &str, form: &str) -> (u16, Value) {
    ask(double, Request::post(path).header("idempotency-key", key), form)
}

fn checkout_form(customer: &str) -> String {
    format!(
        "customer={customer}&mode=subscription&line_items[0][price]=price_standard\
         &success_url=https://a.example/"
    )
}

fn meter_form(customer: &str, identifier: &str, at: Timestamp) -> String {
    format!(
        "event_name={METER_EVENT_NAME}&identifier={identifier}&timestamp={}\
         &payload[stripe_customer_id]={customer}&payload[value]=7",
        at.secs()
    )
}

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
    let (status, _) = post(&double, "c", path, &meter_form("cus_nobody", "dl-4", life.now()));
    assert_eq!(status, 404);
}

#[test]
#[ignore = "reads DRIFTLOCK_STRIPE_FIXTURES"]
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

/// Every member that an answer and the published object share is of the same kind in both.
fn compare(name: &str, answer: &Value) {
    let folder = std::env::var_os("DRIFTLOCK_STRIPE_FIXTURES").map(PathBuf::from);
    let folder = folder.expect("DRIFTLOCK_STRIPE_FIXTURES is set");
    let text =
        std::fs::read(folder.join(format!("openapi__{name}.json"))).expect("a published object");
    let original: Value = serde_json::from_slice(&text).expect("JSON");
    assert_same_kinds(name, "", answer, &original);
}

fn assert_same_kinds(name: &str, at: &str, answer: &Value, original: &Value) {
    match (answer, original) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(answer), Value::Object(original)) => {
            for (member, value) in answer {
                // Free for the account's own use.
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
