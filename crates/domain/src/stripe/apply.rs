//! Computes what is committed for one customer from all its events: the organization's billing
//! state, the changes for the audit log, and the result of each event.
//!
//! It reads the whole set of events each time, so that order and repetition do not matter (I6).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::account::{Account, BillingState};
use super::clearing::cleared;
use super::event::{Event, EventKind};
use super::fold::fold_from;
use super::invoices::{self, InvoiceState};
use super::object::{self, Subject, Subscription};
use super::prices::PriceMap;
use super::subscription::SubscriptionState;
use super::transition::{Transition, transitions};
use crate::id::OrganizationId;
use crate::organization::SubscriptionStatus;
use crate::purchases::Purchases;
use crate::time::Timestamp;

/// The input: what is known about a customer.
#[derive(Debug, Clone, Copy)]
pub struct Customer<'a> {
    /// Its id, `cus_…`.
    pub id: &'a str,
    /// The organization that the customer is linked to already.
    pub organization: Option<OrganizationId>,
    /// The billing state of the last commit.
    pub billing_state: &'a BillingState,
    /// All events that name it, in any order.
    pub events: &'a [Event],
    /// What Stripe answered after the events were read; `None` without a secret key.
    pub fetched: Option<&'a Fetched>,
}

/// What Stripe says about a customer now. It is newer than everything that was committed before the
/// call.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// All its subscriptions, ended ones too.
    pub subscriptions: Vec<Value>,
    /// Its invoices, the newest first.
    pub invoices: Vec<Value>,
    /// When they were fetched.
    pub as_of: Timestamp,
}

/// The settings that billing depends on.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Which plan a price buys.
    pub prices: &'a PriceMap,
    /// How long requests pass after a failed payment.
    pub grace: Duration,
}

/// The result, to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The customer's organization.
    pub organization: OrganizationId,
    /// The new billing state.
    pub billing_state: BillingState,
    /// The purchases that are stored with the organization: they decide whether it may call.
    pub purchases: Purchases,
    /// What changed.
    pub transitions: Vec<Transition>,
    /// All invoices.
    pub invoices: Vec<InvoiceState>,
    /// Events that become dead letters, by id, with the reason.
    pub dead: BTreeMap<String, String>,
    /// Why subscriptions have no effect, whether they are known from events or from Stripe.
    pub problems: Vec<String>,
}

/// The customer is linked to no organization yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no checkout links the customer to an organization yet: set client_reference_id, or the \
     organization's stripe_customer_id"
)]
pub struct Unlinked;

/// Computes the result from everything that is known about a customer.
///
/// # Errors
/// [`Unlinked`] while the customer is linked to no organization.
pub fn apply(customer: Customer<'_>, rules: Rules<'_>) -> Result<Applied, Unlinked> {
    let Customer { id, organization, billing_state, events, fetched } = customer;
    let nothing = Fetched::default();
    let fetched = fetched.unwrap_or(&nothing);
    let Read { subscriptions, dead, problems } =
        subscriptions(events, fetched, billing_state, rules.prices);
    let named = || subscriptions.iter().find_map(|state| state.organization.as_ref()?.parse().ok());
    let organization = organization.or_else(|| linked(events)).or_else(named).ok_or(Unlinked)?;
    let invoices = invoices(events, fetched);
    let noticed = events.iter().filter(|event| event.kind == EventKind::TrialWillEnd);
    let trial_notices: Vec<String> =
        noticed.filter_map(|event| event.subject().subscription().map(str::to_owned)).collect();
    let has = |kind: EventKind| events.iter().any(|event| event.kind == kind);
    let disputes = open_disputes(events);
    let has_plan = |id: &str| subscriptions.iter().any(|one| one.id == id && one.plan.is_some());
    let lived = lived(events, fetched, has_plan);
    let account = Account {
        subscriptions: &subscriptions,
        invoices: &invoices,
        trial_notices: &trial_notices,
        disputes: &disputes,
        customer_deleted: has(EventKind::CustomerDeleted),
        proven_live: billing_state.proven_live || lived == Lived::Proven,
        grace: rules.grace,
    };
    let new = BillingState::of(account);
    let (changes, cleared) = (transitions(billing_state, &new), cleared(events));
    Ok(Applied {
        organization,
        purchases: account.purchases(id, new.proven_live || lived != Lived::Never),
        transitions: changes.into_iter().map(|change| change.by_hand(&cleared)).collect(),
        billing_state: new,
        invoices,
        dead,
        problems,
    })
}

/// Whether any subscription of a customer was ever live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lived {
    /// No event or fetched object says so.
    Never,
    /// One was canceled, and nothing says that it was still waiting for its first payment.
    Presumed,
    /// An event or object says so. This result is permanent.
    Proven,
}

/// Whether a subscription was ever live, by all events and fetched objects. Only subscriptions
/// count for which `counts` is true; the caller excludes those that buy no plan.
#[must_use]
pub fn lived(events: &[Event], fetched: &Fetched, counts: impl Fn(&str) -> bool) -> Lived {
    use SubscriptionStatus as Status;
    let mut seen: BTreeMap<&str, Vec<Status>> = BTreeMap::new();
    let of_subscriptions = events.iter().filter(|event| event.kind.is_subscription());
    let from_events = of_subscriptions.flat_map(|event| {
        let before = event.previous.as_ref().map_or(&Value::Null, |before| &before["status"]);
        [(&event.object["id"], &event.object["status"]), (&event.object["id"], before)]
    });
    let now = fetched.subscriptions.iter().map(|object| (&object["id"], &object["status"]));
    for (id, status) in from_events.chain(now) {
        if let (Some(id), Some(text)) = (id.as_str().filter(|id| counts(id)), status.as_str()) {
            seen.entry(id).or_default().push(object::status(text));
        }
    }
    let of_one = |statuses: &Vec<Status>| {
        let has = |wanted: fn(&Status) -> bool| statuses.iter().any(wanted);
        if has(|status| status.has_served() && !status.is_terminal()) {
            Lived::Proven
        } else if has(Status::has_served) && !has(|status| *status == Status::Incomplete) {
            Lived::Presumed
        } else {
            Lived::Never
        }
    };
    seen.values().map(of_one).max().unwrap_or(Lived::Never)
}

/// Ids of disputes that were opened and not closed, whatever the order of their events.
#[must_use]
pub fn open_disputes(events: &[Event]) -> Vec<String> {
    let of = |kind: EventKind| {
        let of_kind = events.iter().filter(|event| event.kind == kind);
        of_kind.filter_map(|event| event.object["id"].as_str()).collect::<BTreeSet<&str>>()
    };
    let (opened, closed) = (of(EventKind::DisputeCreated), of(EventKind::DisputeClosed));
    opened.difference(&closed).map(|id| (*id).to_owned()).collect()
}

/// The organization that an event names. If several do, the earliest by time and id counts.
#[must_use]
pub fn linked(events: &[Event]) -> Option<OrganizationId> {
    first_naming(events).map(|(_, _, organization)| organization)
}

/// The id of that event.
pub(super) fn link(events: &[Event]) -> Option<&String> {
    first_naming(events).map(|(_, event, _)| event)
}

fn first_naming(events: &[Event]) -> Option<(Timestamp, &String, OrganizationId)> {
    let named = events.iter().filter_map(|event| {
        let organization = event.subject().organization()?.parse().ok()?;
        Some((event.created, &event.id, organization))
    });
    named.min()
}

/// The invoices, joined from events and fetched objects: only events show the first failed payment.
fn invoices(events: &[Event], fetched: &Fetched) -> Vec<InvoiceState> {
    let mut known = invoices::fold(events);
    for object in &fetched.invoices {
        let Some(state) = InvoiceState::from_object(object, fetched.as_of) else { continue };
        let joined = match known.remove(&state.id) {
            Some(from_events) => state.join(from_events),
            None => state,
        };
        known.insert(joined.id.clone(), joined);
    }
    known.into_values().collect()
}

#[derive(Default)]
struct Read {
    subscriptions: Vec<SubscriptionState>,
    dead: BTreeMap<String, String>,
    problems: Vec<String>,
}

/// The state of each subscription, and the dead letters of those that have none. A fetched object
/// counts; of a subscription that Stripe no longer lists, the fold of its events counts.
fn subscriptions(
    events: &[Event],
    fetched: &Fetched,
    billing_state: &BillingState,
    prices: &PriceMap,
) -> Read {
    let mut read = Read::default();
    let about = |event: &Event| match event.subject() {
        Subject::Subscription(read) => Some(read.id),
        _ => None,
    };
    // The plan of the last commit is used only if no event shows a plan.
    let folded =
        |id: &str| fold_from(id, events, prices, committed_plan(billing_state, id).as_deref());
    let mut found = BTreeMap::new();
    for object in &fetched.subscriptions {
        if let Ok(now) = Subscription::read(object) {
            let id = now.id.clone();
            let former = folded(&id).ok().flatten().and_then(|state| state.plan);
            let former = former.or_else(|| committed_plan(billing_state, &id));
            let state = SubscriptionState::keeping(now, prices, former.as_deref());
            found.insert(id, state.map(Some));
        }
    }
    for id in events.iter().filter_map(about).collect::<BTreeSet<String>>() {
        found.entry(id).or_insert_with_key(|id| folded(id));
    }
    for (id, state) in found {
        let own = || events.iter().filter(|event| about(event).as_ref() == Some(&id));
        match state {
            Ok(state) => {
                if let Some(error) = state.as_ref().and_then(|state| state.plan_error.clone()) {
                    let buys_none = |event: &&Event| buys_none(event, prices);
                    let dead = own().filter(buys_none);
                    read.dead.extend(dead.map(|event| (event.id.clone(), error.clone())));
                    read.problems.push(error);
                }
                read.subscriptions.extend(state);
            }
            Err(error) => {
                read.dead.extend(own().map(|event| (event.id.clone(), error.to_string())));
                read.problems.push(error.to_string());
            }
        }
    }
    read
}

/// The plan that a subscription bought at the last commit.
fn committed_plan(billing_state: &BillingState, id: &str) -> Option<String> {
    billing_state.plans.get(id).cloned()
}

/// Whether the prices in an event buy no plan.
fn buys_none(event: &Event, prices: &PriceMap) -> bool {
    Subscription::read(&event.object).is_ok_and(|read| prices.purchase(&read).is_err())
}

#[cfg(test)]
#[path = "tests/apply.rs"]
mod tests;
