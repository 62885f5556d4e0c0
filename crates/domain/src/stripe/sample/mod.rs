//! Makes complete sample events of every handled type, in the shapes of three API versions.
//!
//! A [`Life`] simulates one Stripe customer. Its methods make the events that Stripe would send,
//! including `previous_attributes`, and it knows the true state that the events must lead to. The
//! tests, the Stripe double and `driftlock stripe trigger` share it. Ids and amounts are derived
//! from the seed and the time is an argument, so the same arguments make the same events.

mod delivery;
mod entropy;
mod envelope;
mod extras;
mod invoice;
mod life;
mod money;
mod scenario;
mod signature;
mod subscription;
mod unused;

use std::fmt;
use std::str::FromStr;

pub use delivery::{duplicate, shuffle};
pub use entropy::Entropy;
pub use envelope::{difference, fetched, snapshot, thin};
pub use extras::{checkout_session, customer, dispute, meter_error_report};
pub use invoice::SampleInvoice;
pub use life::{Life, LifeParams, SamplePrice, Start};
pub use scenario::{Scenario, UnknownScenario, event};
pub use signature::{SIGNATURE_CASES, SignatureCase, SignedDelivery};
pub use subscription::SampleSubscription;

/// The API version of an endpoint, which decides the shape of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiShape {
    /// 2024-06-20: the period on the subscription, `subscription` on the invoice.
    Y2024,
    /// 2025-01-27.acacia: as before, under a named release.
    Acacia,
    /// 2025-08-27.basil and later: the period on the items, `parent` on the invoice.
    Basil,
}

/// A text that names no supported API version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such shape; known are 2024-06-20, 2025-01-27.acacia and 2025-08-27.basil")]
pub struct UnknownShape;

impl ApiShape {
    /// All supported versions, oldest first.
    pub const ALL: [Self; 3] = [Self::Y2024, Self::Acacia, Self::Basil];

    /// The version's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Y2024 => "2024-06-20",
            Self::Acacia => "2025-01-27.acacia",
            Self::Basil => "2025-08-27.basil",
        }
    }

    /// Whether its objects have the paths of 2025-03-31.basil.
    #[must_use]
    pub const fn has_new_paths(self) -> bool {
        matches!(self, Self::Basil)
    }
}

impl fmt::Display for ApiShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ApiShape {
    type Err = UnknownShape;

    fn from_str(text: &str) -> Result<Self, UnknownShape> {
        Self::ALL.into_iter().find(|shape| shape.as_str() == text).ok_or(UnknownShape)
    }
}

#[cfg(test)]
#[path = "../tests/sample.rs"]
pub(in crate::stripe) mod tests;
