//! Why an organization gets 402.

use serde::{Deserialize, Serialize};

use crate::organization::SubscriptionStatus;

/// Why an organization gets 402.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotEntitled {
    /// An operator suspended it.
    #[error("the organization is suspended")]
    Suspended,
    /// Its plan needs a subscription and there is none.
    #[error("the plan needs a subscription and the organization has none")]
    NoSubscription,
    /// The subscription ended.
    #[error("the subscription has ended")]
    SubscriptionEnded,
    /// The contract's `cancel_at` has passed.
    #[error("the contract has ended")]
    ContractEnded,
    /// A payment failed and the grace time is over.
    #[error("a payment failed and the grace time is over")]
    GraceOver,
    /// Stripe stopped collecting (`unpaid`).
    #[error("invoices of the subscription were not paid and Stripe stopped collecting them")]
    Unpaid,
    /// The subscription is paused (`paused`).
    #[error("the subscription is paused: its trial ended without a payment method")]
    Paused,
    /// The first payment is outstanding (`incomplete`).
    #[error("the first payment of the subscription is outstanding")]
    FirstPaymentOutstanding,
    /// The first payment was never made (`incomplete_expired`).
    #[error("the first payment of the subscription was never made")]
    FirstPaymentExpired,
    /// The subscription's quantity is 0.
    #[error("the quantity of the subscription is 0, which buys nothing")]
    QuantityZero,
    /// Stripe added this status later.
    #[error("the subscription has a status that this gateway does not know")]
    UnknownStatus,
}

impl NotEntitled {
    /// Why a subscription of this status does not entitle; `None` where it may.
    #[must_use]
    pub const fn of(status: &SubscriptionStatus) -> Option<Self> {
        match status {
            SubscriptionStatus::Active
            | SubscriptionStatus::Trialing
            | SubscriptionStatus::PastDue => None,
            SubscriptionStatus::Unpaid => Some(Self::Unpaid),
            SubscriptionStatus::Paused => Some(Self::Paused),
            SubscriptionStatus::Incomplete => Some(Self::FirstPaymentOutstanding),
            SubscriptionStatus::IncompleteExpired => Some(Self::FirstPaymentExpired),
            SubscriptionStatus::Canceled => Some(Self::SubscriptionEnded),
            SubscriptionStatus::Other(_) => Some(Self::UnknownStatus),
        }
    }

    /// How near the candidate is to entitling. The reason of the nearest candidate is reported.
    pub(super) const fn nearness(self) -> u8 {
        match self {
            Self::GraceOver => 8,
            Self::Unpaid => 7,
            Self::Paused => 6,
            Self::QuantityZero => 5,
            Self::FirstPaymentOutstanding => 4,
            Self::UnknownStatus => 3,
            Self::SubscriptionEnded | Self::ContractEnded => 2,
            Self::FirstPaymentExpired => 1,
            Self::NoSubscription | Self::Suspended => 0,
        }
    }
}
