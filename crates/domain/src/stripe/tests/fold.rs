use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::stripe::chain::order;
use crate::stripe::prices::PlanError;
use crate::stripe::sample::tests::{params, parse};
use crate::stripe::sample::{ApiShape, Life, Start, shuffle};

fn life() -> Life {
    let mut life = Life::new(params(11, ApiShape::Y2024));
    let price = life.params().price.clone();
    life.subscribe(&price, Start::Paid);
    life
}

fn state(life: &Life, events: &[Event]) -> SubscriptionState {
    let id = &life.subscriptions()[0].id;
    fold(id, events, &PriceMap::default()).expect("a plan").expect("a state")
}

#[test]
fn newer_state_is_not_overwritten_by_an_older_event() {
    let mut life = life();
    life.wait(Duration::from_secs(60));
    life.cancel();
    let mut events = parse(life.events());
    events.reverse();
    for arrived in 1..=events.len() {
        let known = &events[..arrived];
        assert_eq!(state(&life, known).status, SubscriptionStatus::Canceled, "after {arrived}");
    }
}

#[test]
fn events_of_one_second_are_ordered_by_what_they_replaced() {
    let mut life = life();
    let (standard, growth) = (life.params().price.clone(), life.params().upgrade.clone());
    life.wait(Duration::from_secs(60));
    life.change_price(&growth);
    life.schedule_cancellation();
    life.change_price(&standard);
    life.withdraw_cancellation();
    life.change_price(&growth);
    let happened = parse(life.events());
    let of_it = |event: &&Event| event.kind.is_subscription();
    // The first and the last change have the same content, so that only their ids differ.
    let what = |event: &Event| format!("{:?}", Event { id: String::new(), ..event.clone() });
    let wanted: Vec<String> = happened.iter().filter(of_it).map(what).collect();
    for seed in 0..20 {
        let mut events = happened.clone();
        shuffle(&mut events, seed);
        let found: Vec<String> = order(events.iter().filter(of_it)).into_iter().map(what).collect();
        assert_eq!(found, wanted, "seed {seed}");
        assert_eq!(state(&life, &events).plan.as_deref(), Some("growth"));
    }
}

#[test]
fn an_open_end_of_one_second_is_decided_by_what_the_next_continues() {
    let mut life = life();
    let (standard, growth) = (life.params().price.clone(), life.params().upgrade.clone());
    life.wait(Duration::from_secs(60));
    life.change_price(&growth);
    life.change_price(&standard);
    life.wait(Duration::from_secs(1));
    life.change_price(&growth);
    // The events before that second are lost, so that it may have ended with either price.
    let events: Vec<Event> = parse(life.events()).split_off(life.events().len() - 3);
    let happened: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    let found: Vec<&str> = order(&events).into_iter().map(|event| event.id.as_str()).collect();
    assert_eq!(found, happened);
}

#[test]
fn more_events_in_a_second_than_are_ordered_exactly_are_chained() {
    let mut life = life();
    let (standard, growth) = (life.params().price.clone(), life.params().upgrade.clone());
    life.wait(Duration::from_secs(60));
    for round in 0..9 {
        life.change_price(if round % 2 == 0 { &growth } else { &standard });
        life.schedule_cancellation();
        life.withdraw_cancellation();
    }
    for seed in 0..20 {
        let mut events = parse(life.events());
        shuffle(&mut events, seed);
        let state = state(&life, &events);
        assert_eq!((state.plan.as_deref(), state.cancel_at), (Some("growth"), None), "{seed}");
    }
}

#[test]
fn two_events_about_one_change_are_one_change() {
    let mut life = life();
    life.pause();
    life.resume();
    let mut events = parse(life.events());
    for seed in 0..20 {
        shuffle(&mut events, seed);
        assert_eq!(state(&life, &events).status, SubscriptionStatus::Active);
    }
}

#[test]
fn an_ended_subscription_is_never_revived() {
    let mut life = life();
    life.cancel();
    let updated = |event: &&serde_json::Value| event["data"]["object"]["object"] == "subscription";
    let mut late = life.events().iter().find(updated).expect("there is one").clone();
    late["id"] = "evt_zzz".into();
    late["type"] = "customer.subscription.updated".into();
    late["created"] = (life.now().secs() + 500).into();
    let mut events = parse(life.events());
    events.push(Event::from_value(late).expect("an event"));
    let state = state(&life, &events);
    assert_eq!(state.status, SubscriptionStatus::Canceled);
    assert_eq!(state.ended, Some(life.now()));
}

#[test]
fn an_unknown_price_is_a_dead_letter_until_it_ends() {
    let mut life = life();
    let id = life.subscriptions()[0].id.clone();
    let other = PriceMap::new([("price_other", "standard")]);
    let error = fold(&id, &parse(life.events()), &other).expect_err("no plan");
    let unmapped = PlanError::Unmapped(vec!["price_standard".into()]);
    assert_eq!(error, StateError::Plan { subscription: id.clone(), error: unmapped });
    life.cancel();
    let ended = fold(&id, &parse(life.events()), &other).expect("an end needs no plan");
    assert_eq!(ended.expect("a state").plan, None);
}

#[test]
fn a_deletion_is_an_end_whatever_its_object_says() {
    let mut life = life();
    life.cancel();
    let mut last: Value = life.events().last().expect("an event").clone();
    last["data"]["object"]["status"] = "active".into();
    last["data"]["object"]["ended_at"] = Value::Null;
    let event = Event::from_value(last).expect("an event");
    let state = state(&life, &[event]);
    assert_eq!((state.status, state.ended), (SubscriptionStatus::Canceled, Some(life.now())));
}

#[test]
fn nothing_is_known_without_events() {
    assert_eq!(fold("sub_1", &parse(life().events()), &PriceMap::default()), Ok(None));
}
