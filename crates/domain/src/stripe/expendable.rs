//! Decides which old events of a customer may be deleted.
//!
//! The billing state is computed from all events. So an old event may be deleted only if the others
//! lead to the same billing state: now, with any later event, and when the deleted event is
//! delivered again. These events are kept:
//!
//! - Of a subscription, all events from a certain second on. That second has only one event, so
//!   that the order of earlier events does not affect later ones. It lies before everything that
//!   may still arrive, and not after the events that its state and its plan come from.
//! - Of a subscription that no event shows as live, all events: they prove that it was never live.
//! - Of an invoice, the events whose join equals the join of all of them.
//! - Of a dispute, its end, else its beginning.
//! - Of `customer.deleted`, the first event; of `trial_will_end`, all events.
//! - The event that linked the customer to its organization.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::{Fetched, Lived};
use super::chain;
use super::event::{Event, EventKind};
use super::fold::{is_end, read};
use super::invoices;
use super::prices::PriceMap;
use crate::time::Timestamp;

/// The ids of a customer's events that may be deleted. Events from before `before` must all have
/// arrived.
#[must_use]
pub fn expendable<'a>(
    events: &'a [Event],
    prices: &PriceMap,
    before: Timestamp,
) -> BTreeSet<&'a str> {
    let link = super::apply::link(events);
    let old = |event: &&Event| event.created < before && Some(&event.id) != link;
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for own in by_object(events, EventKind::is_subscription).values() {
        if !own.iter().any(|event| proves_live(event)) {
            continue;
        }
        let from = needed_from(own, prices, before);
        let is_superseded = |event: &&&Event| {
            from.is_some_and(|from| event.created < from) && event.kind != EventKind::TrialWillEnd
        };
        found.extend(own.iter().filter(is_superseded).map(|event| &*event.id));
    }
    for own in by_object(events, EventKind::is_invoice).into_values() {
        found.extend(absorbed(own));
    }
    let ends = by_object(events, |kind| *kind == EventKind::DisputeClosed);
    for (dispute, begins) in by_object(events, |kind| *kind == EventKind::DisputeCreated) {
        if ends.contains_key(dispute) {
            found.extend(begins.into_iter().map(|event| &*event.id));
        }
    }
    found.extend(of_kind(events, &EventKind::CustomerDeleted).skip(1));
    found.extend(of_kind(events, &EventKind::CheckoutCompleted));
    let ids = events.iter().filter(old).map(|event| &*event.id);
    ids.filter(|id| found.contains(id)).collect()
}

fn proves_live(event: &Event) -> bool {
    super::apply::lived(std::slice::from_ref(event), &Fetched::default(), |_| true) == Lived::Proven
}

/// The events of each object, by its id.
fn by_object(events: &[Event], wanted: impl Fn(&EventKind) -> bool) -> BTreeMap<&str, Vec<&Event>> {
    let mut found: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| wanted(&event.kind)) {
        if let Some(id) = event.object["id"].as_str() {
            found.entry(id).or_default().push(event);
        }
    }
    found
}

/// In order of time.
fn of_kind<'a>(events: &'a [Event], kind: &EventKind) -> impl Iterator<Item = &'a str> {
    let mut own: Vec<&Event> = events.iter().filter(|event| event.kind == *kind).collect();
    own.sort_by_key(|event| (event.created, &event.id));
    own.into_iter().map(|event| &*event.id)
}

/// The second from which on a subscription's events are needed; `None` if all of them are.
fn needed_from(own: &[&Event], prices: &PriceMap, before: Timestamp) -> Option<Timestamp> {
    let (mut state, mut plan, mut has_ended) = (None, None, false);
    let ordered = chain::order(own.iter().copied());
    for event in &ordered {
        let read = read(event).ok()?;
        if !has_ended || is_end(&read) {
            has_ended |= is_end(&read);
            state = Some(event.created);
            if prices.purchase(&read).is_ok() {
                plan = state;
            }
        }
    }
    let needed = plan.map_or(state, |plan| state.map(|state| state.min(plan)))?;
    let seconds = ordered.chunk_by(|a, b| a.created == b.created);
    let alone = seconds.filter(|second| second.len() == 1).map(|second| second[0].created);
    alone.filter(|second| *second <= needed && *second < before).max()
}

/// The events of one invoice without which the join of its events is the same.
fn absorbed(mut own: Vec<&Event>) -> Vec<&str> {
    own.sort_by_key(|event| (event.created, &event.id));
    let join = |of: &[&Event]| invoices::fold(of.iter().copied());
    let (whole, mut gone, mut place) = (join(&own), Vec::new(), 0);
    while place < own.len() {
        let event = own.remove(place);
        if join(&own) == whole {
            gone.push(&*event.id);
        } else {
            own.insert(place, event);
            place += 1;
        }
    }
    gone
}

#[cfg(test)]
#[path = "tests/expendable.rs"]
pub(in crate::stripe) mod tests;
