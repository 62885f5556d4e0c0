//! A contract or a subscription at Stripe as a candidate for the decision.

use std::time::Duration;

use serde::Serialize;

use super::NotEntitled;
use crate::organization::{Contract, SubscriptionStatus};
use crate::period::Period;
use crate::purchases::PurchasedSubscription;
use crate::time::Timestamp;

/// A subscription as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownSubscription<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its status.
    pub status: &'a SubscriptionStatus,
    /// Its plan.
    pub plan: &'a str,
    /// Its billing period.
    pub period: Period,
    /// When it ends, if an end is set.
    pub cancel_at: Option<Timestamp>,
    /// Until when requests are allowed although a payment failed.
    pub grace_until: Option<Timestamp>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    pub(super) verdict: Result<(), NotEntitled>,
    pub(super) shown: ShownSubscription<'a>,
    /// How many times it gives the plan's included units.
    pub(super) quantity: u64,
    /// The period that the included units are for.
    pub(super) period: Period,
    /// Whether it was ever in service.
    pub(super) has_served: bool,
}

impl<'a> Candidate<'a> {
    pub(super) fn contract(contract: &'a Contract, now: Timestamp) -> Self {
        let Contract { id, status, plan, period, cancel_at, grace_until } = contract;
        let grace_is_over = match (status, *grace_until) {
            (_, Some(until)) => now >= until,
            (status, None) => *status == SubscriptionStatus::PastDue,
        };
        let verdict = match NotEntitled::of(status) {
            Some(reason) => Err(reason),
            None if has_passed(*cancel_at, now) => Err(NotEntitled::ContractEnded),
            None if grace_is_over => Err(NotEntitled::GraceOver),
            None => Ok(()),
        };
        Self {
            verdict,
            shown: ShownSubscription {
                id,
                status,
                plan,
                period: *period,
                cancel_at: *cancel_at,
                grace_until: *grace_until,
            },
            quantity: 1,
            period: period.provisional(now),
            has_served: status.has_served(),
        }
    }

    pub(super) fn bought(
        bought: &'a PurchasedSubscription,
        grace: Duration,
        now: Timestamp,
    ) -> Self {
        let PurchasedSubscription { id, status, plan, quantity, cancel_at, .. } = bought;
        // An invoice that was sent and is not due yet counts as nothing unpaid.
        let unpaid_since = bought.unpaid_since.filter(|since| *since <= now);
        let grace_until = unpaid_since.map(|since| since.plus(grace));
        let verdict = match NotEntitled::of(status) {
            Some(reason) => Err(reason),
            None if has_passed(*cancel_at, now) => Err(NotEntitled::SubscriptionEnded),
            None if *quantity == 0 => Err(NotEntitled::QuantityZero),
            None if has_passed(grace_until, now) => Err(NotEntitled::GraceOver),
            None => Ok(()),
        };
        Self {
            verdict,
            shown: ShownSubscription {
                id,
                status,
                plan,
                period: bought.period,
                cancel_at: *cancel_at,
                grace_until,
            },
            quantity: *quantity,
            period: allowance_period(bought, now),
            has_served: bought.has_served(),
        }
    }
}

/// The period that included units are for: Stripe's billing period. Where that is longer than a
/// month, it is the month within it that contains `now`, counted from the billing anchor.
fn allowance_period(bought: &PurchasedSubscription, now: Timestamp) -> Period {
    let billed = bought.period.provisional(now);
    match bought.interval_months {
        Some(months) if months > 1 => {
            billed.month_within(bought.anchor.unwrap_or(bought.period.start), now)
        }
        Some(_) | None => billed,
    }
}

fn has_passed(end: Option<Timestamp>, now: Timestamp) -> bool {
    end.is_some_and(|end| now >= end)
}
