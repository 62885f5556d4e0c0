//! Computes a subscription's state without Stripe, by a fold over all its events.
//!
//! The fold runs over the whole set each time, so that a late event finds its place and a repeated
//! one changes nothing. `canceled` and `incomplete_expired` are final: no later event revives that
//! id.

use super::chain;
use super::event::{Event, EventKind};
use super::object::Subscription;
use super::prices::PriceMap;
use super::subscription::{StateError, SubscriptionState};
use crate::organization::SubscriptionStatus;

/// The state of the subscription `id` by a set of events, in any order and with any repetition.
/// Events of other objects are ignored. `None` if no event is about the subscription.
///
/// # Errors
/// [`StateError`] when the last event leaves no plan or no status.
pub fn fold<'a>(
    id: &str,
    events: impl IntoIterator<Item = &'a Event>,
    prices: &PriceMap,
) -> Result<Option<SubscriptionState>, StateError> {
    fold_from(id, events, prices, None)
}

/// Like [`fold`], with the plan that the subscription bought before, `former`. A price that is not
/// mapped keeps the plan of the events before it, whenever they arrived.
///
/// # Errors
/// [`StateError`] when the last event leaves no status, or no event shows a plan.
pub fn fold_from<'a>(
    id: &str,
    events: impl IntoIterator<Item = &'a Event>,
    prices: &PriceMap,
    former: Option<&str>,
) -> Result<Option<SubscriptionState>, StateError> {
    let own = events
        .into_iter()
        .filter(|event| event.kind.is_subscription() && event.object["id"].as_str() == Some(id));
    let mut last: Option<Subscription> = None;
    let mut bought = former.map(str::to_owned);
    for event in chain::order(own) {
        let read = read(event)?;
        if last.as_ref().is_none_or(|last| !is_end(last) || is_end(&read)) {
            bought = prices.purchase(&read).ok().map(|found| found.plan).or(bought);
            last = Some(read);
        }
    }
    last.map(|read| SubscriptionState::keeping(read, prices, bought.as_deref())).transpose()
}

/// Whether the subscription has ended for good.
pub(super) fn is_end(read: &Subscription) -> bool {
    read.status.as_ref().is_some_and(SubscriptionStatus::is_terminal)
}

/// Reads an event's subscription. A deletion ends it, whatever the object's status says.
pub(super) fn read(event: &Event) -> Result<Subscription, StateError> {
    let mut read = Subscription::read(&event.object)?;
    if event.kind == EventKind::SubscriptionDeleted {
        if !read.status.as_ref().is_some_and(SubscriptionStatus::is_terminal) {
            read.status = Some(SubscriptionStatus::Canceled);
        }
        read.ended_at = read.ended_at.or(Some(event.created));
    }
    Ok(read)
}

#[cfg(test)]
#[path = "tests/fold.rs"]
mod tests;
