//! A double with one customer, and calls to it.

use bytes::Bytes;
use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Scenario};
use driftlock_domain::time::Timestamp;
use driftlock_testkit::make::now;
use driftlock_testkit::stripe::{METER_EVENT_NAME, SECRET_KEY, StripeDouble};
use http::Request;
use serde_json::Value;

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

/// A double with one customer and one failed payment.
pub(crate) fn double(shape: ApiShape) -> (StripeDouble, Life) {
    let life = Scenario::PaymentFailure.life(params(shape));
    let at = life.now();
    let double = StripeDouble::new(1, move || at);
    double.put(&life);
    (double, life)
}

pub(crate) fn ask(
    double: &StripeDouble,
    request: http::request::Builder,
    form: &str,
) -> (u16, Value) {
    let request = request.header("authorization", format!("Bearer {SECRET_KEY}"));
    let request: Request<Bytes> = request.body(form.to_owned().into()).expect("a request");
    let answer = double.answer(&request).expect("it does not break");
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).expect("JSON"))
}

pub(crate) fn get(double: &StripeDouble, shape: ApiShape, path: &str) -> Value {
    let request = Request::get(path).header("stripe-version", shape.as_str());
    let (status, body) = ask(double, request, "");
    assert_eq!(status, 200, "{path}: {body}");
    body
}

pub(crate) fn post(double: &StripeDouble, key: &str, path: &str, form: &str) -> (u16, Value) {
    ask(double, Request::post(path).header("idempotency-key", key), form)
}

pub(crate) fn meter_form(customer: &str, identifier: &str, at: Timestamp) -> String {
    format!(
        "event_name={METER_EVENT_NAME}&identifier={identifier}&timestamp={}\
         &payload[stripe_customer_id]={customer}&payload[value]=7",
        at.secs()
    )
}
