//! What the directory knows of an organization, and what a request needs of it.

use serde::{Deserialize, Serialize};

use crate::id::OrganizationId;
use crate::ledger_host::LedgerHost;
use crate::period::Period;
use crate::purchases::{PurchasedSubscription, Purchases};
use crate::quota::{QuotaOverride, QuotaPatch, explicit};
use crate::time::Timestamp;

/// An organization as the directory keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// What people call it; 1 to 200 characters.
    pub name: String,
    /// Its own plan, by its name in the configuration. No purchase changes it.
    pub plan: String,
    /// Whether it may use the gateway at all.
    pub status: OrganizationStatus,
    /// What it changed of its plan's quota.
    pub quota: QuotaOverride,
    /// Requests per minute over all its keys; no limit unless set.
    pub requests_per_minute: Option<u32>,
    /// Its customer at Stripe.
    pub stripe_customer_id: Option<String>,
    /// The subscription that an operator set. Nothing that Stripe says changes it.
    #[serde(default)]
    pub contract: Option<Contract>,
    /// What its customer bought at Stripe; `None` until Stripe said anything of that customer.
    #[serde(default)]
    pub purchases: Option<Purchases>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who counts its units.
    #[serde(default, deserialize_with = "stated")]
    pub ledger: LedgerHost,
}

/// What a store does not state is the default.
fn stated<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LedgerHost, D::Error> {
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
    /// The subscriptions of the customer that it has; those of a customer that it had before decide
    /// nothing.
    #[must_use]
    pub fn bought(&self) -> &[PurchasedSubscription] {
        let is_its =
            |bought: &&Purchases| self.stripe_customer_id.as_ref() == Some(&bought.customer);
        self.purchases.as_ref().filter(is_its).map_or(&[], |bought| &bought.subscriptions)
    }

    /// From when to when its usage is on a bill of Stripe's; `None` before anything was bought. A
    /// contract serves from its period's start on.
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
    /// What it is called, such as a contract's number or `sub_…`.
    pub id: String,
    /// Its status; `active` unless the operator says otherwise.
    #[serde(default)]
    pub status: SubscriptionStatus,
    /// The plan whose quota counts.
    pub plan: String,
    /// Its first billing period; periods of the same length follow.
    pub period: Period,
    /// When it ends; without it, it is for ever.
    #[serde(default)]
    pub cancel_at: Option<Timestamp>,
    /// Until when requests pass although a payment failed.
    #[serde(default)]
    pub grace_until: Option<Timestamp>,
}

/// Stripe's subscription statuses; the enum is open, since Stripe adds to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Paid.
    #[default]
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

    /// Whether a subscription never leaves this status.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired)
    }

    /// Whether only a subscription that was in service comes to this status.
    #[must_use]
    pub const fn has_served(&self) -> bool {
        !matches!(self, Self::Incomplete | Self::IncompleteExpired | Self::Other(_))
    }

    /// How near it is to being in good standing: of two subscriptions the one of the higher rank
    /// counts.
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
