//! May this organization use the gateway now, and on what terms? Pure.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::organization::{Organization, OrganizationStatus, SubscriptionStatus};
use crate::period::Period;
use crate::plan::Plan;
use crate::quota::Quota;
use crate::time::Timestamp;

/// Why an organization gets 402.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotEntitled {
    /// An operator closed it.
    #[error("the organization is suspended")]
    Suspended,
    /// Its plan wants a subscription and there is none.
    #[error("the plan needs a subscription and the organization has none")]
    NoSubscription,
    /// The subscription ended, or was never paid for.
    #[error("the subscription is not in good standing")]
    SubscriptionEnded,
    /// A payment failed and the grace time is over.
    #[error("a payment failed and the grace time is over")]
    GraceOver,
}

/// The quota's terms in force: what a lease is granted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The billing period.
    pub period: Period,
    /// Units included in it.
    pub included: u64,
    /// Units after which requests are denied; `None` when nothing ever is.
    pub cap: Option<u64>,
}

/// What an organization may do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement {
    /// The quota's terms.
    pub terms: Terms,
    /// Requests per minute of a key that has no limit of its own.
    pub key_requests_per_minute: NonZeroU32,
    /// Requests per minute over all keys.
    pub organization_requests_per_minute: Option<NonZeroU32>,
}

/// Decides whether the organization is in good standing.
///
/// # Errors
/// [`NotEntitled`] says why not.
pub fn standing(
    organization: &Organization,
    plan: &Plan,
    now: Timestamp,
) -> Result<(), NotEntitled> {
    match organization.status {
        OrganizationStatus::Active => {}
        OrganizationStatus::Suspended => return Err(NotEntitled::Suspended),
    }
    let Some(subscription) = &organization.subscription else {
        return if plan.needs_subscription { Err(NotEntitled::NoSubscription) } else { Ok(()) };
    };
    match &subscription.status {
        SubscriptionStatus::Active | SubscriptionStatus::Trialing => {
            match subscription.grace_until {
                Some(until) if now >= until => Err(NotEntitled::GraceOver),
                Some(_) | None => Ok(()),
            }
        }
        SubscriptionStatus::PastDue => match subscription.grace_until {
            Some(until) if now < until => Ok(()),
            Some(_) | None => Err(NotEntitled::GraceOver),
        },
        SubscriptionStatus::Canceled
        | SubscriptionStatus::Unpaid
        | SubscriptionStatus::Incomplete
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Other(_) => Err(NotEntitled::SubscriptionEnded),
    }
}

/// The billing period in force: the subscription's, else the calendar month.
#[must_use]
pub fn period(organization: &Organization, now: Timestamp) -> Period {
    match &organization.subscription {
        Some(subscription) => subscription.period.provisional(now),
        None => Period::calendar_month(now),
    }
}

/// The terms in force, whether or not the organization is in good standing.
#[must_use]
pub fn entitlement(organization: &Organization, plan: &Plan, now: Timestamp) -> Entitlement {
    let quota = Quota::in_force(plan, &organization.quota);
    Entitlement {
        terms: Terms {
            period: period(organization, now),
            included: quota.included,
            cap: quota.cap(),
        },
        key_requests_per_minute: NonZeroU32::new(plan.requests_per_minute)
            .unwrap_or(NonZeroU32::MIN),
        organization_requests_per_minute: organization
            .requests_per_minute
            .and_then(NonZeroU32::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;
    use crate::id::OrganizationId;
    use crate::organization::Subscription;
    use crate::quota::{QuotaOverride, QuotaPolicy};

    fn now() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    fn plan() -> Plan {
        Plan {
            name: "standard".into(),
            base_micros: 49_000_000,
            included: 250_000,
            overage_micros: Some(3_500),
            policy: QuotaPolicy::SoftCap,
            cap_percent: 120,
            requests_per_minute: 300,
            needs_subscription: true,
        }
    }

    fn subscribed(status: SubscriptionStatus, grace_until: Option<Timestamp>) -> Organization {
        let period = Period::calendar_month(now());
        Organization {
            id: OrganizationId::from_bytes([1; 16]),
            name: "Acme".into(),
            plan: "standard".into(),
            status: OrganizationStatus::Active,
            quota: QuotaOverride::default(),
            requests_per_minute: None,
            stripe_customer_id: None,
            subscription: Some(Subscription {
                id: "sub_1".into(),
                status,
                plan: "standard".into(),
                period,
                cancel_at: None,
                started_at: None,
                ended_at: None,
                grace_until,
            }),
            created_at: now(),
            ledger: Authority::default(),
        }
    }

    #[test]
    fn statuses_decide() {
        let later = now().plus(std::time::Duration::from_secs(1));
        let cases = [
            (SubscriptionStatus::Active, None, Ok(())),
            (SubscriptionStatus::Trialing, None, Ok(())),
            (SubscriptionStatus::PastDue, Some(later), Ok(())),
            (SubscriptionStatus::PastDue, Some(now()), Err(NotEntitled::GraceOver)),
            (SubscriptionStatus::PastDue, None, Err(NotEntitled::GraceOver)),
            (SubscriptionStatus::Canceled, None, Err(NotEntitled::SubscriptionEnded)),
            (SubscriptionStatus::Unpaid, None, Err(NotEntitled::SubscriptionEnded)),
            (SubscriptionStatus::Paused, None, Err(NotEntitled::SubscriptionEnded)),
            (SubscriptionStatus::Other("new".into()), None, Err(NotEntitled::SubscriptionEnded)),
        ];
        for (status, grace, wanted) in cases {
            let found = standing(&subscribed(status.clone(), grace), &plan(), now());
            assert_eq!(found, wanted, "{status:?}");
        }
    }

    #[test]
    fn a_paid_plan_wants_a_subscription() {
        let mut organization = subscribed(SubscriptionStatus::Active, None);
        organization.subscription = None;
        assert_eq!(standing(&organization, &plan(), now()), Err(NotEntitled::NoSubscription));
        let free = Plan { needs_subscription: false, ..plan() };
        assert_eq!(standing(&organization, &free, now()), Ok(()));
        organization.status = OrganizationStatus::Suspended;
        assert_eq!(standing(&organization, &free, now()), Err(NotEntitled::Suspended));
    }

    #[test]
    fn unknown_statuses_survive_a_round_trip() {
        let text = r#""on_hold""#;
        let status: SubscriptionStatus = serde_json::from_str(text).expect("open enum");
        assert_eq!(status, SubscriptionStatus::Other("on_hold".into()));
        assert_eq!(serde_json::to_string(&status).expect("text"), text);
    }
}
