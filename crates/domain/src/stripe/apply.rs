//! From all events of one customer to what is committed: the organization's standing, the changes
//! that the audit log is told of, and what became of each event.
//!
//! It runs over the whole set at each arrival, so that order and repetition do not matter (I6).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::account::{Account, Billing};
use super::event::{Event, EventKind};
use super::fold::fold;
use super::invoices::{self, InvoiceState};
use super::object::Subject;
use super::prices::PriceMap;
use super::subscription::SubscriptionState;
use super::transition::{Transition, transitions};
use crate::id::OrganizationId;
use crate::organization::Subscription;

/// What is known of a customer.
#[derive(Debug, Clone, Copy)]
pub struct Customer<'a> {
    /// The organization that it was linked to before.
    pub organization: Option<OrganizationId>,
    /// Its standing, as it was committed last.
    pub standing: &'a Billing,
    /// All events that name it, in any order.
    pub events: &'a [Event],
}

/// What the configuration says of billing.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Which plan a price buys.
    pub prices: &'a PriceMap,
    /// How long requests pass after a failed payment.
    pub grace: Duration,
}

/// What is to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Whom it is about.
    pub organization: OrganizationId,
    /// The new standing.
    pub standing: Billing,
    /// The current subscription, as the directory keeps it; `None` leaves it as it is.
    pub subscription: Option<Subscription>,
    /// What changed.
    pub transitions: Vec<Transition>,
    /// All invoices.
    pub invoices: Vec<InvoiceState>,
    /// Events without effect, by id: what is wrong with them.
    pub dead: BTreeMap<String, String>,
}

/// No event says whose customer it is, yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no checkout links the customer to an organization yet: set client_reference_id, or the \
     organization's stripe_customer_id"
)]
pub struct Unlinked;

/// What follows from everything that is known of a customer. `plan` is the organization's own.
///
/// # Errors
/// [`Unlinked`] while nobody knows whose customer it is.
pub fn apply(customer: Customer<'_>, rules: Rules<'_>, plan: &str) -> Result<Applied, Unlinked> {
    let Customer { organization, standing, events } = customer;
    let organization = organization.or_else(|| linked(events)).ok_or(Unlinked)?;
    let (subscriptions, dead) = subscriptions(events, rules.prices);
    let invoices: Vec<InvoiceState> = invoices::fold(events).into_values().collect();
    let noticed = events.iter().filter(|event| event.kind == EventKind::TrialWillEnd);
    let trial_notices: Vec<String> =
        noticed.filter_map(|event| event.subject().subscription().map(str::to_owned)).collect();
    let has = |kind: EventKind| events.iter().any(|event| event.kind == kind);
    let account = Account {
        subscriptions: &subscriptions,
        invoices: &invoices,
        trial_notices: &trial_notices,
        disputed: has(EventKind::DisputeCreated),
        customer_deleted: has(EventKind::CustomerDeleted),
        grace: rules.grace,
    };
    let new = Billing::of(account);
    Ok(Applied {
        organization,
        subscription: new.for_directory(account, plan),
        transitions: transitions(standing, &new),
        standing: new,
        invoices,
        dead,
    })
}

/// The organization that an event names; the earliest to do so, by time and id, where several do.
fn linked(events: &[Event]) -> Option<OrganizationId> {
    let named = events.iter().filter_map(|event| {
        let organization = event.subject().organization()?.parse().ok()?;
        Some((event.created, &event.id, organization))
    });
    named.min().map(|(_, _, organization)| organization)
}

/// Every subscription's state, and the events of those that have none.
fn subscriptions(
    events: &[Event],
    prices: &PriceMap,
) -> (Vec<SubscriptionState>, BTreeMap<String, String>) {
    let about = |event: &Event| match event.subject() {
        Subject::Subscription(read) => Some(read.id),
        _ => None,
    };
    let ids: BTreeSet<String> = events.iter().filter_map(about).collect();
    let (mut states, mut dead) = (Vec::new(), BTreeMap::new());
    for id in ids {
        match fold(&id, events, prices) {
            Ok(state) => states.extend(state),
            Err(error) => {
                let own = events.iter().filter(|event| about(event).as_ref() == Some(&id));
                dead.extend(own.map(|event| (event.id.clone(), error.to_string())));
            }
        }
    }
    (states, dead)
}

#[cfg(test)]
#[path = "tests/apply.rs"]
mod tests;
