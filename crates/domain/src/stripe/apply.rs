//! From all events of one customer to what is committed: the organization's standing, the changes
//! that the audit log is told of, and what became of each event.
//!
//! It runs over the whole set at each arrival, so that order and repetition do not matter (I6).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::account::{Account, Billing};
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

/// What is known of a customer.
#[derive(Debug, Clone, Copy)]
pub struct Customer<'a> {
    /// Its id, `cus_…`.
    pub id: &'a str,
    /// The organization that it was linked to before.
    pub organization: Option<OrganizationId>,
    /// Its standing, as it was committed last.
    pub standing: &'a Billing,
    /// All events that name it, in any order.
    pub events: &'a [Event],
    /// What Stripe answered when asked after these were read; `None` where nobody can ask.
    pub fetched: Option<&'a Fetched>,
}

/// What Stripe says of a customer now. It is newer than anything that was committed before it was
/// asked for.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// All its subscriptions, ended ones too.
    pub subscriptions: Vec<Value>,
    /// Its invoices, the newest first.
    pub invoices: Vec<Value>,
    /// When they were asked for.
    pub as_of: Timestamp,
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
    /// What is kept with the organization: all that decides whether it may call.
    pub purchases: Purchases,
    /// What changed.
    pub transitions: Vec<Transition>,
    /// All invoices.
    pub invoices: Vec<InvoiceState>,
    /// Events without effect, by id: what is wrong with them.
    pub dead: BTreeMap<String, String>,
    /// Subscriptions that have no effect, whether or not an event told of them.
    pub problems: Vec<String>,
}

/// No event says whose customer it is, yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no checkout links the customer to an organization yet: set client_reference_id, or the \
     organization's stripe_customer_id"
)]
pub struct Unlinked;

/// What follows from everything that is known of a customer.
///
/// # Errors
/// [`Unlinked`] while nobody knows whose customer it is.
pub fn apply(customer: Customer<'_>, rules: Rules<'_>) -> Result<Applied, Unlinked> {
    let Customer { id, organization, standing, events, fetched } = customer;
    let nothing = Fetched::default();
    let fetched = fetched.unwrap_or(&nothing);
    let Read { subscriptions, dead, problems } =
        subscriptions(events, fetched, standing, rules.prices);
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
        proven_live: standing.proven_live || lived == Lived::Proven,
        grace: rules.grace,
    };
    let new = Billing::of(account);
    let (changes, cleared) = (transitions(standing, &new), cleared(events));
    Ok(Applied {
        organization,
        purchases: account.purchases(id, new.proven_live || lived != Lived::Never),
        transitions: changes.into_iter().map(|change| change.by_hand(&cleared)).collect(),
        standing: new,
        invoices,
        dead,
        problems,
    })
}

/// Whether a subscription of a customer was ever live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lived {
    /// Nothing says so.
    Never,
    /// One was canceled, and nothing says that it was waiting for its first payment then.
    Presumed,
    /// Something says so: from then on this stays.
    Proven,
}

/// Whether a subscription was ever live, by everything that events and Stripe say of those that
/// `counts` names. One that buys no plan does not count: it changes nothing.
#[must_use]
pub fn lived(events: &[Event], fetched: &Fetched, counts: impl Fn(&str) -> bool) -> Lived {
    use SubscriptionStatus as Status;
    let mut said: BTreeMap<&str, Vec<Status>> = BTreeMap::new();
    let of_subscriptions = events.iter().filter(|event| event.kind.is_subscription());
    let told = of_subscriptions.flat_map(|event| {
        let before = event.previous.as_ref().map_or(&Value::Null, |before| &before["status"]);
        [(&event.object["id"], &event.object["status"]), (&event.object["id"], before)]
    });
    let now = fetched.subscriptions.iter().map(|object| (&object["id"], &object["status"]));
    for (id, status) in told.chain(now) {
        if let (Some(id), Some(text)) = (id.as_str().filter(|id| counts(id)), status.as_str()) {
            said.entry(id).or_default().push(object::status(text));
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
    said.values().map(of_one).max().unwrap_or(Lived::Never)
}

/// Disputes that were opened and not closed, in whatever order their events came.
#[must_use]
pub fn open_disputes(events: &[Event]) -> Vec<String> {
    let of = |kind: EventKind| {
        let told = events.iter().filter(|event| event.kind == kind);
        told.filter_map(|event| event.object["id"].as_str()).collect::<BTreeSet<&str>>()
    };
    let (opened, closed) = (of(EventKind::DisputeCreated), of(EventKind::DisputeClosed));
    opened.difference(&closed).map(|id| (*id).to_owned()).collect()
}

/// The organization that an event names; the earliest to do so, by time and id, where several do.
#[must_use]
pub fn linked(events: &[Event]) -> Option<OrganizationId> {
    first_naming(events).map(|(_, _, organization)| organization)
}

/// The event that does.
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

/// Invoices as events and Stripe tell of them: only events know when collecting failed first.
fn invoices(events: &[Event], fetched: &Fetched) -> Vec<InvoiceState> {
    let mut known = invoices::fold(events);
    for object in &fetched.invoices {
        let Some(state) = InvoiceState::from_object(object, fetched.as_of) else { continue };
        let joined = match known.remove(&state.id) {
            Some(told) => state.join(told),
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

/// Every subscription's state, and the events of those that have none. What was fetched stands; of
/// one that Stripe no longer lists, what its events come to.
fn subscriptions(
    events: &[Event],
    fetched: &Fetched,
    standing: &Billing,
    prices: &PriceMap,
) -> Read {
    let mut read = Read::default();
    let about = |event: &Event| match event.subject() {
        Subject::Subscription(read) => Some(read.id),
        _ => None,
    };
    // What it bought at the last commit stands in only where no event tells.
    let folded = |id: &str| fold_from(id, events, prices, standing_plan(standing, id).as_deref());
    let mut found = BTreeMap::new();
    for object in &fetched.subscriptions {
        if let Ok(now) = Subscription::read(object) {
            let id = now.id.clone();
            let former = folded(&id).ok().flatten().and_then(|state| state.plan);
            let former = former.or_else(|| standing_plan(standing, &id));
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
fn standing_plan(standing: &Billing, id: &str) -> Option<String> {
    standing.plans.get(id).cloned()
}

/// Whether an event's own prices buy no plan.
fn buys_none(event: &Event, prices: &PriceMap) -> bool {
    Subscription::read(&event.object).is_ok_and(|read| prices.purchase(&read).is_err())
}

#[cfg(test)]
#[path = "tests/apply.rs"]
mod tests;
