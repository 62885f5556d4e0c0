//! `[stripe]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stripe::meter::ReportMode;
use crate::stripe::prices::PriceMap;

/// Billing by Stripe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stripe {
    /// Which plan a price buys.
    pub prices: PriceMap,
    /// The price that a plan's usage is billed by, where that is one of its own: a checkout gets it
    /// as a second line.
    pub metered_prices: BTreeMap<String, String>,
    /// Days that requests pass after a failed payment.
    pub grace_days: u32,
    /// Only events of this mode have an effect; unset, of both.
    pub livemode: Option<bool>,
    /// The `event_name` of the meter that usage is told to.
    pub meter_event_name: String,
    /// What Stripe is told of usage.
    pub report_usage: ReportMode,
    /// Hours between two comparisons of everything with Stripe's lists and sums.
    pub reconcile_hours: u32,
    /// Days that Stripe's events are kept which nothing hangs on any more; 0 keeps them for good.
    pub events_retention_days: u32,
}

/// Stripe can be asked to deliver an event again for so many days.
pub(super) const EVENTS_RETENTION_DAYS_MIN: u32 = 30;

impl Default for Stripe {
    fn default() -> Self {
        Self {
            prices: PriceMap::default(),
            metered_prices: BTreeMap::new(),
            grace_days: 7,
            livemode: None,
            meter_event_name: "driftlock_units".to_owned(),
            report_usage: ReportMode::Total,
            reconcile_hours: 24,
            events_retention_days: 90,
        }
    }
}
