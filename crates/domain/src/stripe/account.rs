//! An organization's standing: what follows from all its subscriptions, invoices and disputes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::invoices::{InvoiceState, grace_until};
use super::subscription::SubscriptionState;
use crate::organization::{self, SubscriptionStatus};
use crate::period::Period;
use crate::time::Timestamp;

/// Everything that is known of one organization's customer.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// All its subscriptions, ended ones too, in any order.
    pub subscriptions: &'a [SubscriptionState],
    /// All its invoices, in any order.
    pub invoices: &'a [InvoiceState],
    /// Subscriptions of which Stripe said that their trial will end.
    pub trial_notices: &'a [String],
    /// Disputes that are open, by id.
    pub disputes: &'a [String],
    /// Whether the customer was deleted at Stripe.
    pub customer_deleted: bool,
    /// How long requests pass after a failed payment.
    pub grace: Duration,
}

/// What matters of it: two of these tell what changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Billing {
    /// The current subscription, `sub_…`.
    pub subscription: Option<String>,
    /// The plan that it buys.
    pub plan: Option<String>,
    /// The price that buys it.
    pub price: Option<String>,
    /// Its status.
    pub status: Option<SubscriptionStatus>,
    /// Its billing period.
    pub period: Option<Period>,
    /// When it is to end.
    pub cancel_at: Option<Timestamp>,
    /// Until when requests pass although a payment failed.
    pub grace_until: Option<Timestamp>,
    /// When its trial ends, while it is in one.
    pub trial_ends: Option<Timestamp>,
    /// Whether Stripe announced that end.
    pub trial_ending: bool,
    /// Whether a charge is disputed.
    pub disputed: bool,
    /// Disputes that are open, by id.
    pub disputes: Vec<String>,
    /// Live subscriptions beside the current one: they are paid for, and buy nothing here.
    pub also_live: Vec<String>,
    /// Whether the customer was deleted at Stripe.
    pub customer_deleted: bool,
    /// What changed last; entered by whoever commits, since it takes a clock.
    pub last_change: Option<LastChange>,
}

/// The last of an organization's transitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastChange {
    /// The audit log's action, `billing.…`.
    pub action: String,
    /// When it was committed.
    pub at: Timestamp,
}

/// The current subscription: the live one created last, so that an old one's end does not end a
/// new one, and a first payment that never came does not displace one that is paid for. Without a
/// live one, the last that was waiting for its first payment; else the last that ended.
#[must_use]
pub fn current<'a>(
    subscriptions: impl IntoIterator<Item = &'a SubscriptionState>,
) -> Option<&'a SubscriptionState> {
    subscriptions
        .into_iter()
        .max_by_key(|state| (liveness(&state.status), state.created, &state.id))
}

impl Billing {
    /// What follows from everything that is known.
    #[must_use]
    pub fn of(account: Account<'_>) -> Self {
        let Account { customer_deleted, .. } = account;
        let mut disputes = account.disputes.to_vec();
        disputes.sort_unstable();
        let disputed = !disputes.is_empty();
        let Some(state) = current(account.subscriptions) else {
            return Self { disputed, disputes, customer_deleted, ..Self::default() };
        };
        let live = |other: &&SubscriptionState| other.status.is_live();
        let others = account.subscriptions.iter().filter(live).filter(|other| other.id != state.id);
        let mut also_live: Vec<String> = others.map(|other| other.id.clone()).collect();
        also_live.sort_unstable();
        if customer_deleted {
            also_live.clear();
        }
        // Stripe ends a deleted customer's subscriptions; those events may still be on their way.
        let status = if customer_deleted && !state.is_ended() {
            SubscriptionStatus::Canceled
        } else {
            state.status.clone()
        };
        let trialing = status == SubscriptionStatus::Trialing;
        let noticed = account.trial_notices.contains(&state.id);
        Self {
            subscription: Some(state.id.clone()),
            plan: state.plan.clone(),
            price: state.price.clone(),
            period: state.period,
            cancel_at: state.cancel_at,
            grace_until: grace(&account, state, &status),
            trial_ends: state.trial_end.filter(|_| trialing),
            trial_ending: trialing && noticed,
            status: Some(status),
            disputed,
            disputes,
            also_live,
            customer_deleted,
            last_change: None,
        }
    }

    /// The subscription as the directory keeps it; see [`SubscriptionState::for_directory`].
    #[must_use]
    pub fn for_directory(
        &self,
        account: Account<'_>,
        plan: &str,
    ) -> Option<organization::Subscription> {
        let state = current(account.subscriptions)?;
        let mut kept = state.for_directory(plan, self.grace_until);
        kept.status = self.status.clone().unwrap_or(kept.status);
        kept.started_at = state.service_start(account.subscriptions);
        Some(kept)
    }
}

/// The grace time of one subscription. One that is past due although no failure is known yet (its
/// event is on its way) has grace since its oldest unpaid invoice, else since its period began:
/// a paying customer is not turned away because two events came in the wrong order.
fn grace(
    account: &Account<'_>,
    state: &SubscriptionState,
    status: &SubscriptionStatus,
) -> Option<Timestamp> {
    if matches!(status, SubscriptionStatus::Canceled | SubscriptionStatus::IncompleteExpired) {
        return None;
    }
    let own = || {
        let of_it = |invoice: &&InvoiceState| invoice.subscription.as_ref() == Some(&state.id);
        account.invoices.iter().filter(of_it)
    };
    let since_failure = grace_until(own(), account.grace);
    if since_failure.is_some() || *status != SubscriptionStatus::PastDue {
        return since_failure;
    }
    let unpaid = own().filter(|invoice| !invoice.status.is_settled());
    unpaid
        .filter_map(|invoice| invoice.created)
        .min()
        .or(state.period.map(|period| period.start))
        .map(|since| since.plus(account.grace))
}

const fn liveness(status: &SubscriptionStatus) -> u8 {
    match status {
        SubscriptionStatus::Canceled | SubscriptionStatus::IncompleteExpired => 0,
        SubscriptionStatus::Incomplete => 1,
        SubscriptionStatus::Active
        | SubscriptionStatus::Trialing
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Unpaid
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Other(_) => 2,
    }
}

#[cfg(test)]
#[path = "tests/account.rs"]
pub(in crate::stripe) mod tests;
