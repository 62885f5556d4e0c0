//! The changes between two billing states, for the audit log and alerts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::BillingState;
use super::clearing::Clearing;
use crate::alert::AlertKind;
use crate::organization::SubscriptionStatus;
use crate::period::Period;
use crate::time::Timestamp;

/// One change of an organization's billing state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the members are those of the billing state, before and after")]
pub enum Transition {
    /// Another subscription became the current one.
    Subscribed { subscription: String, plan: Option<String>, status: Option<SubscriptionStatus> },
    /// The plan changed.
    PlanChanged { from: Option<String>, to: Option<String> },
    /// The first payment succeeded.
    Activated,
    /// A new billing period began.
    Renewed { period: Period },
    /// A payment failed; requests pass until `grace_until`.
    PaymentFailed { grace_until: Timestamp },
    /// The end of the grace time changed, since another failed invoice determines it now.
    GraceMoved { from: Timestamp, to: Timestamp },
    /// No open invoice has failed any more.
    Recovered,
    /// Stripe gave up collecting the payment.
    GivenUp,
    /// The subscription is scheduled to end.
    CancellationScheduled { at: Timestamp },
    /// The scheduled end was withdrawn.
    CancellationWithdrawn,
    /// The subscription ended.
    Cancelled,
    /// The subscription ended because its first payment was never made.
    Expired,
    /// The trial ends soon.
    TrialEnding { at: Option<Timestamp> },
    /// The trial is over and the subscription is active.
    TrialEnded,
    /// The subscription was paused.
    Paused,
    /// The subscription was resumed.
    Resumed,
    /// A charge is disputed.
    Disputed { dispute: String },
    /// A dispute is over.
    DisputeClosed { dispute: String },
    /// An operator cleared a dispute.
    DisputeCleared { dispute: String, clearing: Clearing },
    /// Another subscription is live beside the current one.
    AlsoLive { subscription: String },
    /// The customer was deleted at Stripe.
    CustomerDeleted,
    /// Any other change of status.
    StatusChanged { from: Option<SubscriptionStatus>, to: Option<SubscriptionStatus> },
}

/// The changes from one billing state to the next, in the order of the audit log.
#[must_use]
pub fn transitions(old: &BillingState, new: &BillingState) -> Vec<Transition> {
    let mut found = Vec::new();
    let same = old.subscription == new.subscription;
    if !same && let Some(subscription) = new.subscription.clone() {
        let (plan, status) = (new.plan.clone(), new.status.clone());
        found.push(Transition::Subscribed { subscription, plan, status });
    }
    if old.plan != new.plan && old.subscription.is_some() && new.plan.is_some() {
        found.push(Transition::PlanChanged { from: old.plan.clone(), to: new.plan.clone() });
    }
    if same {
        found.extend(status(old, new));
        found.extend(period(old, new));
        found.extend(cancellation(old, new));
    }
    found.extend(grace(old, new));
    if new.trial_ending && !(same && old.trial_ending) {
        found.push(Transition::TrialEnding { at: new.trial_ends });
    }
    let disputed = missing(&new.disputes, &old.disputes);
    found.extend(disputed.map(|dispute| Transition::Disputed { dispute }));
    let closed = missing(&old.disputes, &new.disputes);
    found.extend(closed.map(|dispute| Transition::DisputeClosed { dispute }));
    let also = missing(&new.also_live, &old.also_live);
    found.extend(also.map(|subscription| Transition::AlsoLive { subscription }));
    if new.customer_deleted && !old.customer_deleted {
        found.push(Transition::CustomerDeleted);
    }
    found
}

impl Transition {
    /// The audit log's action, `billing.…`.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Subscribed { .. } => "billing.subscribed",
            Self::PlanChanged { .. } => "billing.plan_changed",
            Self::Activated => "billing.activated",
            Self::Renewed { .. } => "billing.renewed",
            Self::PaymentFailed { .. } => "billing.payment_failed",
            Self::GraceMoved { .. } => "billing.grace_moved",
            Self::Recovered => "billing.recovered",
            Self::GivenUp => "billing.given_up",
            Self::CancellationScheduled { .. } => "billing.cancellation_scheduled",
            Self::CancellationWithdrawn => "billing.cancellation_withdrawn",
            Self::Cancelled => "billing.cancelled",
            Self::Expired => "billing.expired",
            Self::TrialEnding { .. } => "billing.trial_ending",
            Self::TrialEnded => "billing.trial_ended",
            Self::Paused => "billing.paused",
            Self::Resumed => "billing.resumed",
            Self::Disputed { .. } => "billing.disputed",
            Self::DisputeClosed { .. } => "billing.dispute_closed",
            Self::DisputeCleared { .. } => "billing.dispute_cleared",
            Self::AlsoLive { .. } => "billing.also_live",
            Self::CustomerDeleted => "billing.customer_deleted",
            Self::StatusChanged { .. } => "billing.status_changed",
        }
    }

    /// Turns the end of a dispute that an operator cleared into [`Self::DisputeCleared`].
    #[must_use]
    pub fn by_hand(self, cleared: &BTreeMap<&str, Clearing>) -> Self {
        match self {
            Self::DisputeClosed { dispute } => match cleared.get(dispute.as_str()) {
                Some(clearing) => Self::DisputeCleared { dispute, clearing: clearing.clone() },
                None => Self::DisputeClosed { dispute },
            },
            other => other,
        }
    }

    /// Who made the change, if it was an operator and not Stripe.
    #[must_use]
    pub const fn clearing(&self) -> Option<&Clearing> {
        match self {
            Self::DisputeCleared { clearing, .. } => Some(clearing),
            _ => None,
        }
    }

    /// The alert that the change raises: its kind, and the subject that identifies it. `resource`
    /// is the subscription or customer.
    #[must_use]
    pub fn alert(&self, resource: &str) -> Option<(AlertKind, String)> {
        match self {
            Self::PaymentFailed { grace_until } => {
                Some((AlertKind::PaymentFailed, grace_until.secs().to_string()))
            }
            Self::TrialEnding { .. } => Some((AlertKind::TrialEnding, resource.to_owned())),
            Self::Disputed { dispute } => Some((AlertKind::ChargeDisputed, dispute.clone())),
            Self::AlsoLive { subscription } => {
                Some((AlertKind::SeveralSubscriptions, subscription.clone()))
            }
            _ => None,
        }
    }

    /// The audit log's details: the change's members, as a JSON object.
    #[must_use]
    pub fn details(&self) -> Value {
        if let Self::DisputeCleared { dispute, clearing } = self {
            // The audit row has the operator already.
            return json!({ "dispute": dispute, "reason": clearing.reason });
        }
        let mut details = serde_json::to_value(self).unwrap_or_default();
        if let Some(members) = details.as_object_mut() {
            members.remove("change");
        }
        details
    }
}

/// The elements of the first list that are missing in the second.
fn missing<'a>(of: &'a [String], from: &'a [String]) -> impl Iterator<Item = String> + 'a {
    of.iter().filter(|one| !from.contains(one)).cloned()
}

fn status(old: &BillingState, new: &BillingState) -> Option<Transition> {
    use SubscriptionStatus as Status;
    if old.status == new.status {
        return None;
    }
    match (&old.status, new.status.as_ref()?) {
        (_, Status::Canceled) => Some(Transition::Cancelled),
        (_, Status::IncompleteExpired) => Some(Transition::Expired),
        (_, Status::Paused) => Some(Transition::Paused),
        (_, Status::Unpaid) => Some(Transition::GivenUp),
        (Some(Status::Paused), Status::Active | Status::Trialing) => Some(Transition::Resumed),
        (Some(Status::Incomplete), Status::Active | Status::Trialing) => {
            Some(Transition::Activated)
        }
        (Some(Status::Trialing), Status::Active) => Some(Transition::TrialEnded),
        // `PaymentFailed` and `Recovered` report these changes already.
        (Some(Status::Active | Status::Trialing), Status::PastDue) if new.grace_until.is_some() => {
            None
        }
        (Some(Status::PastDue | Status::Unpaid), Status::Active)
            if old.grace_until.is_some() && new.grace_until.is_none() =>
        {
            None
        }
        _ => Some(Transition::StatusChanged { from: old.status.clone(), to: new.status.clone() }),
    }
}

fn period(old: &BillingState, new: &BillingState) -> Option<Transition> {
    let (was, is) = (old.period?, new.period?);
    (is.start > was.start).then_some(Transition::Renewed { period: is })
}

fn cancellation(old: &BillingState, new: &BillingState) -> Option<Transition> {
    match (old.cancel_at, new.cancel_at) {
        (was, Some(at)) if was != Some(at) => Some(Transition::CancellationScheduled { at }),
        (Some(_), None) if new.status != Some(SubscriptionStatus::Canceled) => {
            Some(Transition::CancellationWithdrawn)
        }
        (_, _) => None,
    }
}

fn grace(old: &BillingState, new: &BillingState) -> Option<Transition> {
    let ended = matches!(
        new.status,
        Some(SubscriptionStatus::Canceled | SubscriptionStatus::IncompleteExpired)
    );
    match (old.grace_until, new.grace_until) {
        (None, Some(grace_until)) => Some(Transition::PaymentFailed { grace_until }),
        (Some(from), Some(to)) if from != to => Some(Transition::GraceMoved { from, to }),
        (Some(_), None) if !ended => Some(Transition::Recovered),
        (_, _) => None,
    }
}

#[cfg(test)]
#[path = "tests/transition.rs"]
mod tests;
