//! Price objects, as subscriptions, invoices and legacy plans show them.

use serde_json::{Value, json};

use super::SamplePrice;

/// A price.
pub(super) fn price(price: &SamplePrice, livemode: bool) -> Value {
    json!({
        "id": price.id,
        "object": "price",
        "active": true,
        "billing_scheme": "per_unit",
        "created": 1_700_000_000,
        "currency": "usd",
        "custom_unit_amount": null,
        "livemode": livemode,
        "lookup_key": null,
        "metadata": {},
        "nickname": null,
        "product": "prod_DriftLockSample",
        "recurring": {
            "interval": "month",
            "interval_count": 1,
            "meter": null,
            "trial_period_days": null,
            "usage_type": "licensed",
        },
        "tax_behavior": "unspecified",
        "tiers_mode": null,
        "transform_quantity": null,
        "type": "recurring",
        "unit_amount": price.cents,
        "unit_amount_decimal": price.cents.to_string(),
    })
}

/// The price as a plan, which older API versions have in addition.
pub(super) fn plan(price: &SamplePrice, livemode: bool) -> Value {
    json!({
        "id": price.id,
        "object": "plan",
        "active": true,
        "aggregate_usage": null,
        "amount": price.cents,
        "amount_decimal": price.cents.to_string(),
        "billing_scheme": "per_unit",
        "created": 1_700_000_000,
        "currency": "usd",
        "interval": "month",
        "interval_count": 1,
        "livemode": livemode,
        "metadata": {},
        "nickname": null,
        "product": "prod_DriftLockSample",
        "tiers_mode": null,
        "transform_usage": null,
        "trial_period_days": null,
        "usage_type": "licensed",
    })
}
