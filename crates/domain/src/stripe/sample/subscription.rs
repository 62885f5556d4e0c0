//! A sample subscription, in the shape of any API version.

use serde_json::{Value, json};

use super::{ApiShape, SamplePrice, money};
use crate::period::Period;
use crate::stripe::object::overlay;
use crate::time::Timestamp;

/// The content of a sample subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleSubscription {
    /// `sub_…`.
    pub id: String,
    /// `si_…`.
    pub item: String,
    /// `cus_…`.
    pub customer: String,
    /// `metadata.organization`.
    pub organization: Option<String>,
    /// The price that it has.
    pub price: SamplePrice,
    /// Stripe's text for its status.
    pub status: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its billing period.
    pub period: Period,
    /// Whether it ends with the period.
    pub cancel_at_period_end: bool,
    /// When its cancellation was requested.
    pub canceled_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its trial.
    pub trial: Option<Period>,
    /// `in_…`.
    pub latest_invoice: Option<String>,
    /// Whether it concerns real money.
    pub livemode: bool,
}

impl SampleSubscription {
    /// The object in this version's shape.
    #[must_use]
    pub fn render(&self, shape: ApiShape) -> Value {
        let cancel_at = self.cancel_at_period_end.then(|| self.period.end.secs());
        let mut object = json!({
            "id": self.id,
            "object": "subscription",
            "billing_cycle_anchor": self.created.secs(),
            "cancel_at": cancel_at,
            "cancel_at_period_end": self.cancel_at_period_end,
            "canceled_at": self.canceled_at.map(Timestamp::secs),
            "cancellation_details": { "comment": null, "feedback": null, "reason": null },
            "collection_method": "charge_automatically",
            "created": self.created.secs(),
            "currency": "usd",
            "customer": self.customer,
            "ended_at": self.ended_at.map(Timestamp::secs),
            "items": {
                "object": "list",
                "data": [self.item(shape)],
                "has_more": false,
                "total_count": 1,
                "url": format!("/v1/subscription_items?subscription={}", self.id),
            },
            "latest_invoice": self.latest_invoice,
            "livemode": self.livemode,
            "metadata": self.metadata(),
            "quantity": 1,
            "start_date": self.created.secs(),
            "status": self.status,
            "trial_end": self.trial.map(|trial| trial.end.secs()),
            "trial_start": self.trial.map(|trial| trial.start.secs()),
        });
        overlay(&mut object, &unused());
        if shape != ApiShape::Y2024 {
            object["automatic_tax"]["disabled_reason"] = Value::Null;
        }
        if !shape.has_new_paths() {
            object["current_period_start"] = self.period.start.secs().into();
            object["current_period_end"] = self.period.end.secs().into();
            object["plan"] = money::plan(&self.price, self.livemode);
            object["discount"] = Value::Null;
        } else {
            object["billing_mode"] = json!({ "type": "classic" });
            if cancel_at.is_some() {
                // The newer way to schedule an end.
                object["cancel_at_period_end"] = false.into();
            }
        }
        object
    }

    fn item(&self, shape: ApiShape) -> Value {
        let mut item = json!({
            "id": self.item,
            "object": "subscription_item",
            "billing_thresholds": null,
            "created": self.created.secs(),
            "discounts": [],
            "metadata": {},
            "plan": money::plan(&self.price, self.livemode),
            "price": money::price(&self.price, self.livemode),
            "quantity": 1,
            "subscription": self.id,
            "tax_rates": [],
        });
        if shape.has_new_paths() {
            item["current_period_start"] = self.period.start.secs().into();
            item["current_period_end"] = self.period.end.secs().into();
        } else {
            item["price"]["recurring"]["aggregate_usage"] = Value::Null;
        }
        if shape != ApiShape::Y2024 {
            item["plan"]["meter"] = Value::Null;
        }
        item
    }

    pub(super) fn metadata(&self) -> Value {
        match &self.organization {
            Some(organization) => json!({ "organization": organization }),
            None => json!({}),
        }
    }
}

/// Members that a real subscription has and a sample does not use.
fn unused() -> Value {
    json!({
        "application": null,
        "application_fee_percent": null,
        "automatic_tax": { "enabled": false, "liability": null },
        "billing_cycle_anchor_config": null,
        "billing_thresholds": null,
        "days_until_due": null,
        "default_payment_method": null,
        "default_source": null,
        "default_tax_rates": [],
        "description": null,
        "discounts": [],
        "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } },
        "next_pending_invoice_item_invoice": null,
        "on_behalf_of": null,
        "pause_collection": null,
        "payment_settings": {
            "payment_method_options": null,
            "payment_method_types": null,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": null,
        "pending_setup_intent": null,
        "pending_update": null,
        "schedule": null,
        "test_clock": null,
        "transfer_data": null,
        "trial_settings": { "end_behavior": { "missing_payment_method": "pause" } },
    })
}
