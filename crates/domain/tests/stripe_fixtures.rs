//! Stripe's published objects and signature cases, read from the folder that
//! `DRIFTLOCK_STRIPE_FIXTURES` names: `cargo test -p driftlock-domain --test stripe_fixtures`.
//!
//! They are not ours to ship, so they are never copied into the project, and these tests run only
//! when they are asked for by name. Cases of our own, with the same verdicts, are beside the code.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of the published objects has to read them; the domain itself reads nothing"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use driftlock_domain::stripe::event::{Event, EventForm};
use driftlock_domain::stripe::object::{
    CheckoutMode, CheckoutSession, Customer, Dispute, Invoice, Subject, Subscription,
};
use driftlock_domain::stripe::signature::{Secrets, verify, verify_within};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    std::env::var_os("DRIFTLOCK_STRIPE_FIXTURES").expect("DRIFTLOCK_STRIPE_FIXTURES is set").into()
}

fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("a readable file");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Every published object and event by file name, without the signature cases.
fn published() -> BTreeMap<String, Value> {
    let entries = std::fs::read_dir(folder()).expect("DRIFTLOCK_STRIPE_FIXTURES is a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path))
        .filter(|(name, _)| name != "signature-vectors.json")
        .map(|(name, path)| (name, read(&path)))
        .collect()
}

/// A `data` of an event without its envelope gets one, so that it is read like the others.
fn as_event(name: &str, value: &Value) -> Option<Value> {
    if name.contains("DATA_ONLY") {
        let kind = name.split("__").nth(1)?.split('-').next()?;
        return Some(json!({
            "id": "evt_1", "object": "event", "type": kind, "created": 1_700_000_000, "data": value
        }));
    }
    (value["object"] == "event").then(|| value.clone())
}

#[test]
fn every_published_event_reads() {
    for (name, value) in published() {
        let Some(event) = as_event(&name, &value) else { continue };
        let event = Event::parse(event.to_string().as_bytes()).expect(&name);
        assert_eq!(event.form, EventForm::Snapshot, "{name}");
        let subject = event.subject();
        assert_eq!(event.kind.is_handled(), subject != Subject::Nothing, "{name}");
        assert!(!matches!(subject, Subject::Unreadable(_)), "{name}");
        if event.kind.is_subscription() {
            let Subject::Subscription(read) = subject else { panic!("{name}") };
            assert!(read.status.is_some() && read.customer.is_some(), "{name}");
            assert!(read.items.iter().all(|item| item.period.is_some()), "{name}");
            assert!(!read.prices().is_empty(), "{name}");
        } else if let Subject::Invoice(read) = subject {
            assert!(read.customer.is_some() && read.currency.is_some(), "{name}");
            let paths = ["/parent/subscription_details/subscription", "/subscription"];
            let named = paths.iter().find_map(|path| event.object.pointer(path)?.as_str());
            assert_eq!(read.subscription.as_deref(), named, "{name}");
        } else if let Subject::Checkout(read) = subject {
            let bought = read.subscription.is_some();
            assert_eq!(bought, read.mode == Some(CheckoutMode::Subscription), "{name}");
        }
    }
}

#[test]
fn every_published_object_reads() {
    for (name, value) in published() {
        match value["object"].as_str() {
            Some("subscription") => {
                let read = Subscription::read(&value).expect(&name);
                assert!(read.customer.is_some() && read.status.is_some(), "{name}");
                assert!(read.items.iter().all(|item| item.price.is_some()), "{name}");
            }
            Some("invoice") => {
                let read = Invoice::read(&value);
                assert!(read.id.is_some() && read.status.is_some(), "{name}");
                assert_eq!((read.total, read.currency.as_deref()), (1_000, Some("usd")), "{name}");
                let new = name.contains("basil");
                assert_eq!(new, read.subscription.is_some(), "{name}: the new path comes first");
            }
            Some("checkout.session") => assert!(CheckoutSession::read(&value).id.is_some()),
            Some("customer") => {
                assert!(Customer::read(&value).expect(&name).deleted, "{name}");
            }
            Some("dispute") => assert!(Dispute::read(&value).expect(&name).charge.is_some()),
            Some(_) | None => {}
        }
    }
}

#[test]
fn every_signature_case_has_the_verdict_wanted() {
    let cases = read(&folder().join("signature-vectors.json"));
    let cases = cases["vectors"].as_array().expect("a list");
    assert!(!cases.is_empty());
    for case in cases {
        let text = |name: &str| case[name].as_str().expect("text");
        let now = case["now"].as_i64().expect("a time");
        let tolerance = case["tolerance"].as_u64().expect("a tolerance");
        // A secret that is refused when the host starts accepts nothing.
        let accepted = Secrets::parse_any_form(text("secret")).is_ok_and(|secrets| {
            let (header, body) = (text("header").as_bytes(), text("payload").as_bytes());
            verify_within(header, body, now, &secrets, tolerance).is_ok()
        });
        match text("recommended") {
            "accept" => assert!(accepted, "{}", text("name")),
            "reject" => assert!(!accepted, "{}", text("name")),
            either => assert_eq!(either, "either", "{}", text("name")),
        }
    }
}

#[test]
fn the_published_signed_delivery_is_accepted() {
    let name = "stripe-dotnet__customer.created-SIGNED__2017-05-25.json";
    let body = std::fs::read(folder().join(name)).expect("a readable file");
    let header = "t=1533204620,\
        v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7,\
        v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef";
    let secrets = Secrets::parse_any_form("webhook_secret").expect("a secret");
    assert_eq!(verify(header, &body, 1_533_204_620, &secrets), Ok(()));
    assert!(verify(header, &body, 1_533_204_921, &secrets).is_err());
}
