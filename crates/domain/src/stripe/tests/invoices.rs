use super::*;
use crate::stripe::sample::tests::{params, parse};
use crate::stripe::sample::{ApiShape, Life, Scenario, Start};

const GRACE: Duration = Duration::from_secs(7 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);

fn renewed() -> Life {
    let mut life = Life::new(params(5, ApiShape::Basil));
    let price = life.params().price.clone();
    life.subscribe(&price, Start::Paid);
    life.renew();
    life
}

fn grace(life: &Life) -> Option<Timestamp> {
    grace_until(fold(&parse(life.events())).values(), GRACE)
}

#[test]
fn retries_do_not_extend_the_grace_and_a_payment_clears_it() {
    let mut life = renewed();
    life.fail();
    let until = life.now().plus(GRACE);
    assert_eq!(grace(&life), Some(until));
    for _ in 0..3 {
        life.wait(DAY);
        life.fail();
        assert_eq!(grace(&life), Some(until));
    }
    life.pay();
    assert_eq!(grace(&life), None);
}

#[test]
fn voiding_clears_and_the_next_invoice_counts_for_itself() {
    let mut life = renewed();
    life.fail();
    let first = life.now();
    life.renew();
    life.fail();
    life.wait(DAY);
    assert_eq!(grace(&life), Some(first.plus(GRACE)), "the oldest unpaid one");
    life.void();
    assert_eq!(grace(&life), None, "the second failure was the first invoice's retry");
    life.fail();
    assert_eq!(grace(&life), Some(life.now().plus(GRACE)));
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
fn a_part_payment_does_not_settle_an_invoice() {
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
    assert_eq!(grace_until(fold(&events).values(), GRACE), None);
}

#[test]
fn asking_stripe_joins_with_what_events_told() {
    let mut life = renewed();
    life.fail();
    let invoice = life.invoices().last().expect("an invoice").clone();
    let known = fold(&parse(life.events())).remove(&invoice.id).expect("known");
    life.wait(DAY);
    let fetched = InvoiceState::from_object(&invoice.render(ApiShape::Y2024), life.now());
    let joined = fetched.expect("an id").join(known.clone());
    assert_eq!(joined.first_failure_at, known.first_failure_at, "which only the event told");
    assert_eq!(joined.as_of, life.now());
    assert!(
        InvoiceState::from_object(&serde_json::json!({ "object": "invoice" }), life.now())
            .is_none()
    );
}
