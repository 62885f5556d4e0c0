//! `[stripe]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stripe::meter::ReportMode;
use crate::stripe::prices::PriceMap;

/// Billing by Stripe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stripe {
    /// The plan that each price buys.
    pub prices: PriceMap,
    /// The price by which a plan's usage is billed, where it is a separate price: a checkout gets
    /// it as a second line item.
    pub metered_prices: BTreeMap<String, String>,
    /// Days for which requests are allowed after a failed payment.
    pub grace_days: u32,
    /// Only events of this mode have an effect; unset, events of both modes have.
    pub livemode: Option<bool>,
    /// The `event_name` of the meter to which usage is reported.
    pub meter_event_name: String,
    /// Which usage is reported to Stripe.
    pub report_usage: ReportMode,
    /// Hours between two reconciliations with Stripe's lists and sums.
    pub reconcile_hours: u32,
    /// Days that Stripe's events are kept once they no longer affect a billing state; 0 keeps them
    /// forever.
    pub events_retention_days: u32,
}

/// Stripe can deliver an event again, on request, for this many days.
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
