//! What an organization's customer bought at Stripe, as far as it decides the entitlement.
//!
//! It is computed from all events and invoices of the customer and stored with the organization, so
//! that the decision ([`crate::entitlement`]) needs no other data. Everything that depends on the
//! time is stored as an instant: a grace time or a subscription ends without any event.

use serde::{Deserialize, Serialize};

use crate::organization::SubscriptionStatus;
use crate::period::Period;
use crate::time::Timestamp;

/// The most subscriptions that are kept; a customer usually has one or two.
pub const SUBSCRIPTIONS_MAX: usize = 20;

/// What the customer of an organization bought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchases {
    /// The customer at Stripe, `cus_…`.
    pub customer: String,
    /// The subscriptions, the one created last comes first: all that have not ended, and one ended
    /// subscription, whose status best explains why requests are refused.
    pub subscriptions: Vec<PurchasedSubscription>,
    /// Whether a subscription of this customer was ever live.
    pub was_live: bool,
    /// Whether a subscription of an earlier customer of the organization was ever live.
    #[serde(default)]
    pub was_live_before: bool,
}

/// A subscription at Stripe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchasedSubscription {
    /// `sub_…`.
    pub id: String,
    /// Its status, as last reported by Stripe.
    pub status: SubscriptionStatus,
    /// The plan that its price buys.
    pub plan: String,
    /// How many times it buys the plan's included units.
    pub quantity: u64,
    /// Its billing period.
    pub period: Period,
    /// The months between two invoices; `None` where it is billed by the day or week.
    pub interval_months: Option<u32>,
    /// The instant that its billing periods are counted from.
    pub anchor: Option<Timestamp>,
    /// When it was created.
    pub created: Timestamp,
    /// When it ends, if an end is set.
    pub cancel_at: Option<Timestamp>,
    /// Since when its oldest open invoice is unpaid: the first failed payment or, for an invoice
    /// that was sent, the due date (which may lie in the future). The grace time starts here.
    pub unpaid_since: Option<Timestamp>,
    /// When the service that it continues began.
    pub started_at: Option<Timestamp>,
    /// When it finally ended.
    pub ended_at: Option<Timestamp>,
}

impl PurchasedSubscription {
    /// Whether it was ever in service.
    #[must_use]
    pub const fn has_served(&self) -> bool {
        self.status.has_served()
    }
}

impl Purchases {
    /// The time for which usage is on the customer's invoices, if anything was ever bought.
    #[must_use]
    pub fn service(&self) -> Option<Period> {
        let served = self.subscriptions.iter().filter(|bought| bought.has_served());
        let last = served.max_by_key(|bought| (bought.status.rank(), bought.created))?;
        Some(Period {
            start: last.started_at.unwrap_or(last.period.start),
            end: last.ended_at.unwrap_or(Timestamp::MAX),
        })
    }

    /// Sorts the subscriptions, and drops those that do not affect the entitlement.
    #[must_use]
    pub fn relevant(mut subscriptions: Vec<PurchasedSubscription>) -> Vec<PurchasedSubscription> {
        // Subscriptions that may entitle come first, so that the bound never drops one of them.
        subscriptions.sort_by(|a, b| {
            let place = |bought: &PurchasedSubscription| (bought.status.rank(), bought.created);
            place(b).cmp(&place(a)).then_with(|| b.id.cmp(&a.id))
        });
        let mut has_ended = false;
        subscriptions.retain(|bought| {
            !bought.status.is_terminal() || !std::mem::replace(&mut has_ended, true)
        });
        subscriptions.truncate(SUBSCRIPTIONS_MAX);
        subscriptions.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        subscriptions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bought(id: &str, status: SubscriptionStatus, created: i64) -> PurchasedSubscription {
        let created = Timestamp::from_secs(created);
        PurchasedSubscription {
            id: id.into(),
            status,
            plan: "standard".into(),
            quantity: 1,
            period: Period::calendar_month(created),
            interval_months: Some(1),
            anchor: None,
            created,
            cancel_at: None,
            unpaid_since: None,
            started_at: None,
            ended_at: None,
        }
    }

    fn ids(kept: &[PurchasedSubscription]) -> Vec<&str> {
        kept.iter().map(|bought| bought.id.as_str()).collect()
    }

    #[test]
    fn the_last_created_comes_first_and_one_ended_is_kept() {
        use SubscriptionStatus::{Active, Canceled, IncompleteExpired, Paused};
        let kept = Purchases::relevant(vec![
            bought("sub_old_end", Canceled, 1),
            bought("sub_active", Active, 2),
            bought("sub_end", Canceled, 3),
            bought("sub_never", IncompleteExpired, 9),
            bought("sub_paused", Paused, 4),
        ]);
        assert_eq!(ids(&kept), ["sub_paused", "sub_end", "sub_active"]);
    }

    #[test]
    fn the_bound_keeps_what_may_entitle() {
        let mut many: Vec<_> = (0..50)
            .map(|at| bought(&format!("sub_{at}"), SubscriptionStatus::Incomplete, 100 + at))
            .collect();
        many.push(bought("sub_paid", SubscriptionStatus::Active, 1));
        let kept = Purchases::relevant(many);
        assert_eq!(kept.len(), SUBSCRIPTIONS_MAX);
        assert_eq!(kept.last().map(|last| last.id.as_str()), Some("sub_paid"));
    }
}
