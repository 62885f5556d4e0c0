use std::time::Duration;

use super::*;
use crate::stripe::account::BillingState;
use crate::stripe::apply::{Applied, Customer, Fetched, Lived, Rules, apply, lived};
use crate::stripe::event::Event;
use crate::stripe::sample::tests::{params, parse};
use crate::stripe::sample::{ApiShape, Life, Start, shuffle};

const HOUR: Duration = Duration::from_secs(3_600);

/// The result of events after `known` was committed: only committed events are deleted.
fn applied_after(known: &[Event], events: &[Event]) -> Applied {
    let proven_live = lived(known, &Fetched::default(), |_| true) == Lived::Proven;
    let billing_state = BillingState { proven_live, ..BillingState::default() };
    let customer = Customer {
        id: "cus_1",
        organization: None,
        billing_state: &billing_state,
        events,
        fetched: None,
    };
    let rules = Rules { prices: &PriceMap::default(), grace: 168 * HOUR };
    apply(customer, rules).expect("linked")
}

/// A life of these deeds, one an hour.
fn life(deeds: &[fn(&mut Life)]) -> Life {
    let mut life = Life::new(params(9, ApiShape::Basil));
    let price = life.params().price.clone();
    life.subscribe(&price, Start::Paid);
    for deed in deeds {
        life.wait(HOUR);
        deed(&mut life);
    }
    life
}

fn upgrade(life: &mut Life) {
    let price = life.params().upgrade.clone();
    life.change_price(&price);
}

/// The types of the events that are kept when all are old.
fn left(life: &Life) -> Vec<String> {
    let events = parse(life.events());
    let gone = expendable(&events, &PriceMap::default(), life.now().plus(HOUR));
    let rest: Vec<Event> =
        events.iter().filter(|event| !gone.contains(&*event.id)).cloned().collect();
    assert_eq!(applied_after(&events, &rest), applied_after(&events, &events));
    rest.into_iter().map(|event| event.kind.to_string()).collect()
}

#[test]
fn the_kept_events_lead_to_the_same_state() {
    let (paid, updated) = ("invoice.paid", "customer.subscription.updated");
    let course = life(&[upgrade, Life::renew, Life::fail, Life::pay]);
    let kinds = left(&course);
    assert!(kinds.len() < course.events().len() / 2, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == updated).count(), 1, "{kinds:?}");
    // Only the failed payment's event shows the first failure.
    assert_eq!(kinds.iter().filter(|kind| *kind == "invoice.payment_failed").count(), 1);
    assert_eq!(kinds.iter().filter(|kind| *kind == paid).count(), 2, "one an invoice: {kinds:?}");
    let ended = left(&life(&[upgrade, Life::cancel]));
    assert!(ended.contains(&"customer.subscription.deleted".to_owned()), "{ended:?}");
    assert!(!ended.contains(&updated.to_owned()), "{ended:?}");
    let disputed = left(&life(&[Life::dispute]));
    assert!(disputed.contains(&"charge.dispute.created".to_owned()));
    let over = left(&life(&[Life::dispute, Life::close_dispute]));
    assert!(!over.contains(&"charge.dispute.created".to_owned()), "{over:?}");
    assert!(over.contains(&"charge.dispute.closed".to_owned()), "{over:?}");
    let gone = left(&life(&[Life::delete_customer, Life::checkout]));
    assert!(gone.contains(&"customer.deleted".to_owned()), "{gone:?}");
    assert!(!gone.contains(&"checkout.session.completed".to_owned()), "{gone:?}");
}

#[test]
fn events_that_decide_the_order_within_a_second_are_kept() {
    // A change and its reversal within a second: the state before shows which came last.
    let mut own = life(&[]);
    own.wait(HOUR);
    upgrade(&mut own);
    let price = own.params().price.clone();
    own.change_price(&price);
    let kinds = left(&own);
    let updates = kinds.iter().filter(|kind| *kind == "customer.subscription.updated").count();
    assert_eq!(updates, 3, "the payment's, and both of that second: {kinds:?}");
}

#[test]
fn a_second_that_may_still_get_events_does_not_replace_earlier_ones() {
    let own = life(&[upgrade, Life::renew]);
    let events = parse(own.events());
    let last = events.iter().map(|event| event.created).max().expect("some");
    let gone = expendable(&events, &PriceMap::default(), last);
    let all_gone = expendable(&events, &PriceMap::default(), last.plus(HOUR));
    assert!(gone.len() < all_gone.len(), "the last second may not be whole yet");
    assert_eq!(expendable(&events, &PriceMap::default(), events[0].created), BTreeSet::new());
}

#[test]
fn a_plan_without_a_price_keeps_the_event_that_bought_it() {
    let mut own = life(&[]);
    own.wait(HOUR);
    let mystery = crate::stripe::sample::SamplePrice { id: "price_mystery".into(), cents: 1 };
    own.change_price(&mystery);
    own.wait(HOUR);
    own.schedule_cancellation();
    let kinds = left(&own);
    assert!(kinds.iter().filter(|kind| *kind == "customer.subscription.updated").count() >= 3);
}

/// Checks the kept events alone, with deleted events delivered again in any order, and with later
/// events.
pub(in crate::stripe) fn check(
    early: &[Event],
    late: &[Event],
    seed: u64,
) -> Result<usize, String> {
    let Some(before) = early.iter().map(|event| event.created.plus(HOUR)).max() else {
        return Ok(0);
    };
    let prices = PriceMap::default();
    let gone = expendable(early, &prices, before);
    let rest = |events: &[Event], gone: &BTreeSet<&str>| -> Vec<Event> {
        events.iter().filter(|event| !gone.contains(&*event.id)).cloned().collect()
    };
    let kept = rest(early, &gone);
    let mut again: Vec<Event> = early.to_vec();
    shuffle(&mut again, seed);
    again.truncate(early.len() / 2);
    let mut all: Vec<Event> = early.to_vec();
    let mut left = kept.clone();
    let same = |left: &[Event], all: &[Event], what: &str| {
        let (left, all) = (applied_after(early, left), applied_after(early, all));
        if left == all { Ok(()) } else { Err(format!("{what}: {left:#?}\n{all:#?}")) }
    };
    same(&left, &all, "what is left")?;
    left.extend(again.iter().filter(|event| gone.contains(&*event.id)).cloned());
    shuffle(&mut left, seed);
    same(&left, &all, "delivered once more")?;
    let repeated = expendable(&left, &prices, before);
    same(&rest(&left, &repeated), &all, "and deleted again")?;
    all.extend_from_slice(late);
    left.extend_from_slice(late);
    shuffle(&mut left, seed);
    same(&left, &all, "and what came later")?;
    let mut later = kept;
    later.extend_from_slice(late);
    same(&later, &all, "what came later")?;
    Ok(gone.len())
}
