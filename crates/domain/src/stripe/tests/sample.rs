use serde_json::Value;

use super::*;
use crate::stripe::event::{Event, EventKind};
use crate::stripe::fold::fold;
use crate::stripe::invoices;
use crate::stripe::object::{InvoiceStatus, Subject};
use crate::stripe::prices::PriceMap;
use crate::stripe::subscription::SubscriptionState;
use crate::time::Timestamp;

pub(in crate::stripe) fn params(seed: u64, shape: ApiShape) -> LifeParams {
    let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
    LifeParams {
        seed,
        shape,
        livemode: false,
        organization: "org_00000000000000000000000000000001".to_owned(),
        customer: None,
        price: price("standard", 4_900),
        upgrade: price("growth", 24_900),
        start: Timestamp::from_secs(1_800_000_000),
    }
}

pub(in crate::stripe) fn parse(events: &[Value]) -> Vec<Event> {
    let parse = |event: &Value| Event::parse(event.to_string().as_bytes()).expect("an event");
    events.iter().map(parse).collect()
}

#[test]
fn every_handled_type_has_a_sample_that_reads_in_every_shape() {
    for shape in ApiShape::ALL {
        for kind in EventKind::HANDLED {
            let sample = event(kind, Life::new(params(1, shape))).expect("a sample");
            let read = Event::parse(sample.to_string().as_bytes()).expect("an event");
            assert_eq!((&read.kind, read.livemode), (kind, Some(false)));
            let subject = read.subject();
            assert!(!matches!(subject, Subject::Nothing | Subject::Unreadable(_)), "{kind}");
            if !matches!(subject, Subject::MeterErrors(_)) {
                assert!(subject.customer().is_some_and(|id| id.starts_with("cus_")), "{kind}");
                assert_eq!(read.api_version.as_deref(), Some(shape.as_str()));
            }
            if kind.is_subscription() || kind.is_invoice() {
                assert!(subject.subscription().is_some(), "{kind} in {shape}");
                assert!(subject.organization().is_some(), "{kind} in {shape}");
            }
        }
    }
}

#[test]
fn endpoints_of_other_versions_get_the_same_events() {
    for scenario in Scenario::ALL {
        for (own, other) in
            [(0, 2), (1, 0), (2, 1)].map(|(a, b)| (ApiShape::ALL[a], ApiShape::ALL[b]))
        {
            let life = scenario.life(params(1, own));
            let rendered = |life: &Life, shape| -> Vec<Value> {
                let places = 0..life.events().len();
                places.filter_map(|place| life.event_at(place, shape)).collect()
            };
            assert_eq!(rendered(&life, own), life.events(), "{scenario}");
            let there = scenario.life(params(1, other));
            assert_eq!(rendered(&life, other), there.events(), "{scenario} in {other}");
        }
    }
    let mut life = Life::new(params(1, ApiShape::Basil));
    life.report_meter_errors();
    assert_eq!(life.event_at(0, ApiShape::Y2024).as_ref(), life.events().first());
    assert_eq!(life.event_at(1, ApiShape::Y2024), None);
}

#[test]
fn the_same_arguments_make_the_same_events_and_another_seed_others() {
    for scenario in Scenario::ALL {
        assert_eq!(scenario.as_str().parse(), Ok(scenario));
        let make = |seed| scenario.life(params(seed, ApiShape::Basil)).into_events();
        assert_eq!(make(1), make(1));
        assert_ne!(make(1)[0]["id"], make(2)[0]["id"]);
    }
    assert_eq!("reboot".parse::<Scenario>(), Err(UnknownScenario));
    assert_eq!("2025-08-27.basil".parse(), Ok(ApiShape::Basil));
}

/// The part of a life that a client of the admin API sees.
fn known(of: &Life) -> Life {
    let (subscriptions, invoices) = (of.subscriptions().to_vec(), of.invoices().to_vec());
    let params = LifeParams {
        seed: 77,
        customer: Some(of.customer().to_owned()),
        ..params(77, ApiShape::Basil)
    };
    Life::continuing(params, subscriptions, invoices)
}

#[test]
fn every_event_and_scenario_continues_from_the_present_state() {
    let signup = Scenario::Signup.life(params(1, ApiShape::Basil));
    let before: Vec<_> = signup.events().iter().map(|event| event["id"].clone()).collect();
    for kind in EventKind::HANDLED {
        let sample = event(kind, known(&signup)).expect("a sample");
        assert!(!before.contains(&sample["id"]), "{kind} is a new event");
        let read = &parse(std::slice::from_ref(&sample))[0];
        if let Some(customer) = read.subject().customer() {
            assert_eq!(customer, signup.customer(), "{kind}");
        }
        let begins = [EventKind::SubscriptionCreated, EventKind::TrialWillEnd].contains(kind);
        if kind.is_subscription() || kind.is_invoice() {
            let same = read.subject().subscription() == Some(&*signup.subscriptions()[0].id);
            assert_eq!(same, !begins, "{kind}");
        }
    }
    // All of it in the second of the sign-up: what changed shows the order.
    let ends = [
        (Scenario::PaymentFailure, "active", "price_standard"),
        (Scenario::Upgrade, "active", "price_growth"),
        (Scenario::Cancel, "canceled", "price_standard"),
    ];
    for (scenario, status, price) in ends {
        let mut events = signup.events().to_vec();
        events.extend(scenario.continue_life(known(&signup)).into_events());
        shuffle(&mut events, 3);
        let id = &signup.subscriptions()[0].id;
        let state =
            fold(id, &parse(&events), &PriceMap::default()).expect("a plan").expect("a state");
        assert_eq!(serde_json::to_value(&state.status).expect("text"), status, "{scenario}");
        assert_eq!(state.price.as_deref(), Some(price), "{scenario}");
        let invoices = invoices::fold(&parse(&events));
        assert!(invoices.values().all(|invoice| invoice.status == InvoiceStatus::Paid));
    }
    let ended = known(&Scenario::Cancel.continue_life(known(&signup)));
    let again = Scenario::Upgrade.continue_life(ended);
    assert_eq!(again.subscriptions().len(), 2, "an ended one is not revived");
}

#[test]
fn streams_of_other_words_differ() {
    let first = |seed, words: &[&str]| Entropy::of(seed, words).number();
    assert_eq!(first(1, &["org_1", "signup"]), first(1, &["org_1", "signup"]));
    let others = [
        first(1, &["org_2", "signup"]),
        first(1, &["org_1", "cancel"]),
        first(2, &["org_1", "signup"]),
        first(1, &["org_1s", "ignup"]),
    ];
    assert!(!others.contains(&first(1, &["org_1", "signup"])), "{others:?}");
}

#[test]
fn scenarios_come_to_the_same_state_in_every_shape() {
    for scenario in Scenario::ALL {
        let states: Vec<_> = ApiShape::ALL
            .into_iter()
            .map(|shape| {
                let life = scenario.life(params(9, shape));
                let truth = life.subscriptions()[0].clone();
                let state = fold(&truth.id, &parse(life.events()), &PriceMap::default());
                state.expect("a plan").expect("a state")
            })
            .collect();
        assert_eq!(states[0], states[1], "{scenario}");
        assert_eq!(states[1], states[2], "{scenario}");
    }
}

#[test]
fn a_payment_failure_fails_twice_and_recovers() {
    let life = Scenario::PaymentFailure.life(params(3, ApiShape::Acacia));
    let kinds: Vec<_> =
        parse(life.events()).into_iter().map(|event| event.kind.to_string()).collect();
    let failures = kinds.iter().filter(|kind| *kind == "invoice.payment_failed").count();
    assert_eq!(failures, 2, "{kinds:?}");
    let mirrored = invoices::fold(&parse(life.events()));
    assert!(mirrored.values().all(|invoice| invoice.status == InvoiceStatus::Paid));
    let truth = life.subscriptions()[0].render(ApiShape::Basil);
    let state = SubscriptionState::from_object(&truth, &PriceMap::default()).expect("a plan");
    assert_eq!(state.status, crate::organization::SubscriptionStatus::Active);
}

#[test]
fn what_a_change_replaced_puts_the_former_state_back() {
    let life = Scenario::Upgrade.life(params(4, ApiShape::Y2024));
    let events = parse(life.events());
    let last = events.last().expect("an event");
    let before = last.before().expect("a former state");
    assert_eq!(before["items"]["data"][0]["price"]["id"], "price_standard");
    assert_eq!(last.object["items"]["data"][0]["price"]["id"], "price_growth");
    assert_eq!(difference(&before, &before), None);
}

#[test]
fn shuffling_and_duplicating_follow_the_seed_and_lose_nothing() {
    let whole: Vec<u32> = (0..30).collect();
    let mut mixed = duplicate(whole.clone(), 7);
    shuffle(&mut mixed, 7);
    let mut again = duplicate(whole.clone(), 7);
    shuffle(&mut again, 7);
    assert_eq!(mixed, again);
    assert!(mixed.len() > whole.len());
    mixed.sort_unstable();
    mixed.dedup();
    assert_eq!(mixed, whole);
}
