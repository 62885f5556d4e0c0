//! Plans: what an organization bought.

use serde::{Deserialize, Serialize};

use crate::quota::QuotaPolicy;

/// One micro-dollar is 10⁻⁶ US dollars; money is never a float.
pub type MicroDollars = u64;

/// What a plan includes, and what further units cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The name that the configuration, the API and `[stripe.prices]` use.
    pub name: String,
    /// The base fee per billing period.
    pub base_micros: MicroDollars,
    /// Units included per billing period.
    pub included: u64,
    /// What a unit beyond `included` costs; `None` means that overage cannot be bought.
    pub overage_micros: Option<MicroDollars>,
    /// What happens when `included` is used up.
    pub policy: QuotaPolicy,
    /// Where `soft_cap` ends, in percent of `included`.
    pub cap_percent: u32,
    /// Requests per minute of each key; also its burst.
    pub requests_per_minute: u32,
    /// Whether requests need a live Stripe subscription.
    pub needs_subscription: bool,
}
