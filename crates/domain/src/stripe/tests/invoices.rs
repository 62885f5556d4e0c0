use std::time::Duration;

use super::*;
use crate::stripe::sample::tests::{params, parse};
use crate::stripe::sample::{ApiShape, Life, Scenario, Start};

const DAY: Duration = Duration::from_secs(86_400);

fn renewed() -> Life {
    let mut life = Life::new(params(5, ApiShape::Basil));
    let price = life.params().price.clone();
    life.subscribe(&price, Start::Paid);
    life.renew();
    life
}

fn unpaid(life: &Life) -> Option<Timestamp> {
    unpaid_since(fold(&parse(life.events())).values())
}

#[test]
fn retries_do_not_extend_the_grace_and_a_payment_clears_it() {
    let mut life = renewed();
    life.fail();
    let until = life.now();
    assert_eq!(unpaid(&life), Some(until));
    for _ in 0..3 {
        life.wait(DAY);
        life.fail();
        assert_eq!(unpaid(&life), Some(until));
    }
    life.pay();
    assert_eq!(unpaid(&life), None);
}

#[test]
fn voiding_clears_and_the_next_invoice_counts_for_itself() {
    let mut life = renewed();
    life.fail();
    let first = life.now();
    life.renew();
    life.fail();
    life.wait(DAY);
    assert_eq!(unpaid(&life), Some(first), "the oldest unpaid one");
    life.void();
    assert_eq!(unpaid(&life), None, "the second failure was the first invoice's retry");
    life.fail();
    assert_eq!(unpaid(&life), Some(life.now()));
}

#[test]
fn an_uncollectible_invoice_no_longer_counts() {
    let mut life = renewed();
    life.fail();
    life.wait(DAY * 10);
    life.write_off();
    let mut events = parse(life.events());
    assert_eq!(unpaid_since(fold(&events).values()), None);
    events.reverse();
    assert_eq!(unpaid_since(fold(&events).values()), None);
}

#[test]
fn an_invoice_that_is_sent_is_unpaid_from_its_due_date_on() {
    let mut life = renewed();
    life.fail();
    let sent = |event: &mut serde_json::Value| {
        event["data"]["object"]["collection_method"] = "send_invoice".into();
        event["data"]["object"]["due_date"] = life.now().plus(DAY * 30).secs().into();
    };
    let mut events = life.events().to_vec();
    events.iter_mut().filter(|event| event["data"]["object"]["object"] == "invoice").for_each(sent);
    let due = life.now().plus(DAY * 30);
    assert_eq!(unpaid_since(fold(&parse(&events)).values()), Some(due), "not the failed attempt");
}

#[test]
fn paid_and_payment_succeeded_in_any_order_are_one_payment() {
    let life = Scenario::Signup.life(params(6, ApiShape::Acacia));
    let mut events = parse(life.events());
    let forward = fold(&events);
    events.reverse();
    assert_eq!(fold(&events), forward);
    let invoice = forward.values().next().expect("an invoice");
    assert_eq!((&invoice.status, invoice.amount_paid), (&InvoiceStatus::Paid, 4_900));
    for kind in ["invoice.paid", "invoice.payment_succeeded"] {
        let only: Vec<_> =
            events.iter().filter(|event| event.kind.as_str() == kind).cloned().collect();
        assert_eq!(only.len(), 1);
        assert_eq!(fold(&only).values().next().map(|one| &one.status), Some(&InvoiceStatus::Paid));
    }
}

#[test]
fn a_partial_payment_leaves_an_invoice_open() {
    let mut life = renewed();
    life.fail();
    life.pay();
    let mut part = life.events()[life.events().len() - 3].clone();
    assert_eq!(part["type"], "invoice.payment_succeeded");
    part["data"]["object"]["status"] = "open".into();
    let part = Event::from_value(part).expect("an event");
    let state = InvoiceState::from_event(&part).expect("an invoice");
    assert_eq!(state.status, InvoiceStatus::Open);
}

#[test]
fn a_failure_that_arrives_after_the_payment_changes_nothing() {
    let mut life = renewed();
    life.fail();
    life.wait(DAY);
    life.pay();
    let mut events = parse(life.events());
    events.reverse();
    assert_eq!(unpaid_since(fold(&events).values()), None);
}

#[test]
fn a_fetched_invoice_joins_with_the_state_from_events() {
    let mut life = renewed();
    life.fail();
    let invoice = life.invoices().last().expect("an invoice").clone();
    let known = fold(&parse(life.events())).remove(&invoice.id).expect("known");
    life.wait(DAY);
    let fetched = InvoiceState::from_object(&invoice.render(ApiShape::Y2024), life.now());
    let joined = fetched.expect("an id").join(known.clone());
    assert_eq!(joined.first_failure_at, known.first_failure_at, "which only the event shows");
    assert_eq!(joined.as_of, life.now());
    assert!(
        InvoiceState::from_object(&serde_json::json!({ "object": "invoice" }), life.now())
            .is_none()
    );
}
