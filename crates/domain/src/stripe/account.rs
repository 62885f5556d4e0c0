//! Computes, from all of a customer's subscriptions, invoices and disputes, two results: the
//! billing state, whose changes go to the audit log and alerts, and the purchases, which decide who
//! may call.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::invoices::{InvoiceState, unpaid_since};
use super::object::Collection;
use super::subscription::SubscriptionState;
use crate::organization::SubscriptionStatus;
use crate::period::Period;
use crate::purchases::{PurchasedSubscription, Purchases};
use crate::time::Timestamp;

/// Everything that is known about one organization's Stripe customer.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// All its subscriptions, ended ones too, in any order.
    pub subscriptions: &'a [SubscriptionState],
    /// All its invoices, in any order.
    pub invoices: &'a [InvoiceState],
    /// Ids of subscriptions whose `trial_will_end` event arrived.
    pub trial_notices: &'a [String],
    /// Ids of open disputes.
    pub disputes: &'a [String],
    /// Whether the customer was deleted at Stripe.
    pub customer_deleted: bool,
    /// Whether a subscription is known to have been live.
    pub proven_live: bool,
    /// How long requests pass after a failed payment.
    pub grace: Duration,
}

/// The billing state of one customer. Comparing two billing states yields the [transitions].
///
/// [transitions]: super::transition::transitions
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BillingState {
    /// The current subscription, `sub_…`.
    pub subscription: Option<String>,
    /// The plan that the current subscription buys.
    pub plan: Option<String>,
    /// The price that buys the plan.
    pub price: Option<String>,
    /// Its status.
    pub status: Option<SubscriptionStatus>,
    /// Its billing period.
    pub period: Option<Period>,
    /// When the subscription is scheduled to end.
    pub cancel_at: Option<Timestamp>,
    /// Until when requests pass although a payment failed.
    pub grace_until: Option<Timestamp>,
    /// When its trial ends, during a trial.
    pub trial_ends: Option<Timestamp>,
    /// Whether Stripe announced the end of the trial.
    pub trial_ending: bool,
    /// Whether a charge is disputed.
    pub disputed: bool,
    /// Ids of open disputes.
    pub disputes: Vec<String>,
    /// Ids of live subscriptions other than the current one, for which an alert is raised.
    pub also_live: Vec<String>,
    /// Whether the customer was deleted at Stripe.
    pub customer_deleted: bool,
    /// The plans of subscriptions that have not ended, by subscription id. A plan from here counts
    /// while the subscription's price is mapped to no plan.
    pub plans: BTreeMap<String, String>,
    /// Whether a subscription is known to have been live.
    pub proven_live: bool,
    /// What changed last; the caller that commits fills it in, since it needs a clock.
    pub last_change: Option<LastChange>,
}

/// An organization's latest transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastChange {
    /// The audit log's action, `billing.…`.
    pub action: String,
    /// When it was committed.
    pub at: Timestamp,
}

/// The current subscription, which the audit log is about: the one whose status has the highest
/// rank, and of several such the one created last.
#[must_use]
pub fn current<'a>(
    subscriptions: impl IntoIterator<Item = &'a SubscriptionState>,
) -> Option<&'a SubscriptionState> {
    subscriptions.into_iter().max_by_key(|state| (state.status.rank(), state.created, &state.id))
}

impl BillingState {
    /// Computes the billing state.
    #[must_use]
    pub fn of(account: Account<'_>) -> Self {
        let Account { customer_deleted, proven_live, .. } = account;
        let mut disputes = account.disputes.to_vec();
        disputes.sort_unstable();
        let disputed = !disputes.is_empty();
        let Some(state) = current(account.subscriptions) else {
            let none = Self::default();
            return Self { disputed, disputes, customer_deleted, proven_live, ..none };
        };
        let live = |other: &&SubscriptionState| other.status.is_live();
        let others = account.subscriptions.iter().filter(live).filter(|other| other.id != state.id);
        let mut also_live: Vec<String> = others.map(|other| other.id.clone()).collect();
        also_live.sort_unstable();
        if customer_deleted {
            also_live.clear();
        }
        let status = status(&account, state);
        let trialing = status == SubscriptionStatus::Trialing;
        let noticed = account.trial_notices.contains(&state.id);
        Self {
            subscription: Some(state.id.clone()),
            plan: state.plan.clone(),
            price: state.price.clone(),
            period: state.period,
            cancel_at: state.cancel_at,
            grace_until: failed_since(&account, state, &status)
                .map(|since| since.plus(account.grace)),
            trial_ends: state.trial_end.filter(|_| trialing),
            trial_ending: trialing && noticed,
            status: Some(status),
            disputed,
            disputes,
            also_live,
            customer_deleted,
            plans: plans(account.subscriptions),
            proven_live,
            last_change: None,
        }
    }
}

impl Account<'_> {
    /// The purchases that are stored with the organization; `was_live` says whether any
    /// subscription was ever live.
    #[must_use]
    pub fn purchases(&self, customer: &str, was_live: bool) -> Purchases {
        let purchased = |state: &SubscriptionState| {
            let status = status(self, state);
            Some(PurchasedSubscription {
                unpaid_since: owed_since(self, state, &status),
                started_at: state.service_start(self.subscriptions),
                status,
                ..state.purchased()?
            })
        };
        let subscriptions = self.subscriptions.iter().filter_map(purchased).collect();
        Purchases {
            customer: customer.to_owned(),
            subscriptions: Purchases::relevant(subscriptions),
            was_live,
            was_live_before: false,
        }
    }
}

/// A subscription's status. Subscriptions of a deleted customer count as ended: Stripe ends them,
/// but the events of that may still be on their way.
fn status(account: &Account<'_>, state: &SubscriptionState) -> SubscriptionStatus {
    match &state.status {
        status if !account.customer_deleted || status.is_terminal() => status.clone(),
        SubscriptionStatus::Incomplete => SubscriptionStatus::IncompleteExpired,
        SubscriptionStatus::Active
        | SubscriptionStatus::Trialing
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Unpaid
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Canceled
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Other(_) => SubscriptionStatus::Canceled,
    }
}

fn plans(subscriptions: &[SubscriptionState]) -> BTreeMap<String, String> {
    let live = subscriptions.iter().filter(|state| !state.is_ended());
    live.filter_map(|state| Some((state.id.clone(), state.plan.clone()?))).collect()
}

fn own<'a>(
    account: &Account<'a>,
    state: &SubscriptionState,
) -> impl Iterator<Item = &'a InvoiceState> {
    let of_it = |invoice: &&InvoiceState| invoice.subscription.as_ref() == Some(&state.id);
    account.invoices.iter().filter(of_it)
}

/// Since when the subscription is unpaid; its grace time starts then. A subscription may be past
/// due before the event of the failed payment has arrived. Then its oldest open invoice counts,
/// else its period's start, so that a customer is not refused because two events came in the wrong
/// order.
fn owed_since(
    account: &Account<'_>,
    state: &SubscriptionState,
    status: &SubscriptionStatus,
) -> Option<Timestamp> {
    if status.is_terminal() {
        return None;
    }
    let since = unpaid_since(own(account, state));
    if since.is_some() || *status != SubscriptionStatus::PastDue {
        return since;
    }
    let open = own(account, state).filter(|invoice| invoice.status.is_open());
    let oldest = open.filter_map(|invoice| invoice.created).min();
    oldest.or(state.period.map(|period| period.start))
}

/// Since when a payment has certainly failed. An invoice that is sent to the customer counts as
/// failed only when Stripe says that the subscription is past due or unpaid.
fn failed_since(
    account: &Account<'_>,
    state: &SubscriptionState,
    status: &SubscriptionStatus,
) -> Option<Timestamp> {
    if matches!(status, SubscriptionStatus::PastDue | SubscriptionStatus::Unpaid) {
        return owed_since(account, state, status);
    }
    if status.is_terminal() {
        return None;
    }
    let automatic = |invoice: &&InvoiceState| invoice.collection != Some(Collection::SendInvoice);
    unpaid_since(own(account, state).filter(automatic))
}

#[cfg(test)]
#[path = "tests/account.rs"]
pub(in crate::stripe) mod tests;
