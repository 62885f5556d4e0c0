//! An organization's record in the directory, and what a request needs from it.

use serde::{Deserialize, Serialize};

use crate::id::OrganizationId;
use crate::ledger_host::LedgerHost;
use crate::period::Period;
use crate::purchases::{PurchasedSubscription, Purchases};
use crate::quota::{QuotaOverride, QuotaPatch, explicit};
use crate::time::Timestamp;

/// An organization's record in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// A name for people; 1 to 200 characters.
    pub name: String,
    /// Its own plan, by its name in the configuration. No purchase changes it.
    pub plan: String,
    /// Whether it may use the gateway at all.
    pub status: OrganizationStatus,
    /// Settings that replace those of its plan's quota.
    pub quota: QuotaOverride,
    /// Requests per minute over all its keys; no limit unless set.
    pub requests_per_minute: Option<u32>,
    /// Its customer at Stripe.
    pub stripe_customer_id: Option<String>,
    /// The subscription that an operator set. No event of Stripe changes it.
    #[serde(default)]
    pub contract: Option<Contract>,
    /// What its customer bought at Stripe; `None` until Stripe reported anything about that
    /// customer.
    #[serde(default)]
    pub purchases: Option<Purchases>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Which kind of ledger counts its units.
    #[serde(default, deserialize_with = "null_as_default")]
    pub ledger: LedgerHost,
}

/// A store may return NULL, which stands for the default.
fn null_as_default<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<LedgerHost, D::Error> {
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

impl Organization {
    /// The subscriptions of its present customer at Stripe; those of an earlier customer entitle to
    /// nothing.
    #[must_use]
    pub fn bought(&self) -> &[PurchasedSubscription] {
        let is_its =
            |bought: &&Purchases| self.stripe_customer_id.as_ref() == Some(&bought.customer);
        self.purchases.as_ref().filter(is_its).map_or(&[], |bought| &bought.subscriptions)
    }

    /// The time for which its usage is billed by Stripe; `None` before anything was bought. A
    /// contract counts from its first period's start, without an end.
    #[must_use]
    pub fn service(&self) -> Option<Period> {
        let bought = self.purchases.as_ref().and_then(Purchases::service);
        let contract = self.contract.as_ref();
        let agreed = contract.map(|set| Period { start: set.period.start, end: Timestamp::MAX });
        match (bought, agreed) {
            (Some(a), Some(b)) => {
                Some(Period { start: a.start.min(b.start), end: a.end.max(b.end) })
            }
            (a, b) => a.or(b),
        }
    }
}

/// A subscription that an operator set by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// A name for it, such as a contract's number or `sub_…`.
    pub id: String,
    /// Its status; `active` unless the operator sets another.
    #[serde(default)]
    pub status: SubscriptionStatus,
    /// The plan whose quota counts.
    pub plan: String,
    /// Its first billing period; periods of the same length follow.
    pub period: Period,
    /// When it ends; `None` means never.
    #[serde(default)]
    pub cancel_at: Option<Timestamp>,
    /// Until when requests are allowed although a payment failed.
    #[serde(default)]
    pub grace_until: Option<Timestamp>,
}

/// Stripe's subscription statuses; the enum is open, since Stripe may add statuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Paid.
    #[default]
    Active,
    /// In its trial.
    Trialing,
    /// A payment failed; requests are allowed until the grace time ends.
    PastDue,
    /// Ended.
    Canceled,
    /// Invoices were not paid and Stripe stopped collecting them.
    Unpaid,
    /// The first payment is outstanding.
    Incomplete,
    /// The first payment was never made.
    IncompleteExpired,
    /// Its trial ended without a payment method.
    Paused,
    /// A status that this gateway does not know; it does not entitle.
    #[serde(untagged)]
    Other(String),
}

impl SubscriptionStatus {
    /// Whether the subscription has begun and not ended, paid or not. An unknown status counts as
    /// live.
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

    /// Whether a subscription never leaves this status.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired)
    }

    /// Whether only a subscription that was in service can have this status.
    #[must_use]
    pub const fn has_served(&self) -> bool {
        !matches!(self, Self::Incomplete | Self::IncompleteExpired | Self::Other(_))
    }

    /// A rank by which subscriptions are preferred: the higher, the closer it is to entitling.
    #[must_use]
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Active | Self::Trialing | Self::PastDue => 4,
            Self::Unpaid | Self::Paused | Self::Other(_) => 3,
            Self::Incomplete => 2,
            Self::Canceled => 1,
            Self::IncompleteExpired => 0,
        }
    }
}

/// An operator's change to an organization: an absent field stays as it is, `null` clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrganizationPatch {
    /// A new name.
    pub name: Option<String>,
    /// Another plan, by its name in the configuration.
    pub plan: Option<String>,
    /// Suspends the organization, or activates it again.
    pub status: Option<OrganizationStatus>,
    /// Its own quota settings.
    pub quota: Option<QuotaPatch>,
    /// Requests per minute over all keys.
    #[serde(deserialize_with = "explicit")]
    pub requests_per_minute: Option<Option<u32>>,
    /// Its customer at Stripe.
    #[serde(deserialize_with = "explicit")]
    pub stripe_customer_id: Option<Option<String>>,
    /// Its contract; `null` ends it.
    #[serde(rename = "subscription", deserialize_with = "explicit")]
    pub contract: Option<Option<Contract>>,
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
        set(&mut organization.contract, self.contract);
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
