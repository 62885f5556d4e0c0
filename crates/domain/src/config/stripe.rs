//! `[stripe]`.

use serde::{Deserialize, Serialize};

use crate::stripe::prices::PriceMap;

/// Billing by Stripe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stripe {
    /// Which plan a price buys.
    pub prices: PriceMap,
    /// Days that requests pass after a failed payment.
    pub grace_days: u32,
    /// Only events of this mode have an effect; unset, of both.
    pub livemode: Option<bool>,
}

impl Default for Stripe {
    fn default() -> Self {
        Self { prices: PriceMap::default(), grace_days: 7, livemode: None }
    }
}
