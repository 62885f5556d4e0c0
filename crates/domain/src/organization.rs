//! What the directory knows of an organization, and what a request needs of it.

use serde::{Deserialize, Serialize};

use crate::authority::Authority;
use crate::id::OrganizationId;
use crate::period::Period;
use crate::quota::{QuotaOverride, QuotaPatch, explicit};
use crate::time::Timestamp;

/// An organization as the directory keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// What people call it; 1 to 200 characters.
    pub name: String,
    /// The plan's name in the configuration.
    pub plan: String,
    /// Whether it may use the gateway at all.
    pub status: OrganizationStatus,
    /// What it changed of its plan's quota.
    pub quota: QuotaOverride,
    /// Requests per minute over all its keys; no limit unless set.
    pub requests_per_minute: Option<u32>,
    /// Its customer at Stripe.
    pub stripe_customer_id: Option<String>,
    /// Its current subscription.
    pub subscription: Option<Subscription>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who counts its units.
    #[serde(default, deserialize_with = "stated")]
    pub ledger: Authority,
}

/// What a store does not state is the default.
fn stated<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Authority, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Whether an organization may use the gateway at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrganizationStatus {
    /// In use.
    Active,
    /// Closed by an operator: every request gets 402.
    Suspended,
}

/// A subscription as Stripe last told, or as an operator set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Stripe's id, `sub_…`.
    pub id: String,
    /// The status.
    pub status: SubscriptionStatus,
    /// The plan that its price maps to.
    pub plan: String,
    /// The current billing period.
    pub period: Period,
    /// When it ends, if it is to end.
    #[serde(default)]
    pub cancel_at: Option<Timestamp>,
    /// Until when requests pass although a payment failed.
    #[serde(default)]
    pub grace_until: Option<Timestamp>,
    /// When its service began: what was used before is on nobody's bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl Subscription {
    /// From when to when usage is on its bill; one that was set by hand begins with the period that
    /// it was set with.
    #[must_use]
    pub fn service(&self) -> Period {
        Period {
            start: self.started_at.unwrap_or(self.period.start),
            end: self.ended_at.unwrap_or(Timestamp::MAX),
        }
    }
}

/// Stripe's subscription statuses; the enum is open, since Stripe adds to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Paid.
    Active,
    /// In its trial.
    Trialing,
    /// A payment failed; passes until `grace_until`.
    PastDue,
    /// Ended.
    Canceled,
    /// Given up on.
    Unpaid,
    /// The first payment is outstanding.
    Incomplete,
    /// The first payment never came.
    IncompleteExpired,
    /// Its trial ended without a payment method.
    Paused,
    /// A status that Stripe added later; treated as not in good standing.
    #[serde(untagged)]
    Other(String),
}

impl SubscriptionStatus {
    /// Whether it is paid for, or is to be: not ended, and not waiting for its first payment.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        match self {
            Self::Active
            | Self::Trialing
            | Self::PastDue
            | Self::Unpaid
            | Self::Paused
            | Self::Other(_) => true,
            Self::Canceled | Self::Incomplete | Self::IncompleteExpired => false,
        }
    }
}

/// What an operator changes of an organization; an absent field stays, `null` clears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrganizationPatch {
    /// A new name.
    pub name: Option<String>,
    /// Another plan, by its name in the configuration.
    pub plan: Option<String>,
    /// Suspend it, or let it go on.
    pub status: Option<OrganizationStatus>,
    /// Its own quota settings.
    pub quota: Option<QuotaPatch>,
    /// Requests per minute over all keys.
    #[serde(deserialize_with = "explicit")]
    pub requests_per_minute: Option<Option<u32>>,
    /// Its customer at Stripe.
    #[serde(deserialize_with = "explicit")]
    pub stripe_customer_id: Option<Option<String>>,
    /// Its subscription, set by hand.
    #[serde(deserialize_with = "explicit")]
    pub subscription: Option<Option<Subscription>>,
}

impl OrganizationPatch {
    /// Applies it.
    pub fn apply(self, organization: &mut Organization) {
        let Self { name, plan, status, quota, .. } = self;
        set(&mut organization.name, name);
        set(&mut organization.plan, plan);
        set(&mut organization.status, status);
        quota.unwrap_or_default().apply(&mut organization.quota);
        set(&mut organization.requests_per_minute, self.requests_per_minute);
        set(&mut organization.stripe_customer_id, self.stripe_customer_id);
        set(&mut organization.subscription, self.subscription);
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
