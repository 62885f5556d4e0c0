//! A sample invoice of a subscription, in the shape of any API version.

use serde_json::{Value, json};

use super::{ApiShape, SampleSubscription, money, unused};
use crate::period::Period;
use crate::stripe::object::overlay;
use crate::time::Timestamp;

/// The content of a sample invoice. Amounts are in cents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleInvoice {
    /// `in_…`.
    pub id: String,
    /// `il_…`.
    pub line: String,
    /// The subscription that it bills; price and customer are this subscription's.
    pub subscription: SampleSubscription,
    /// Stripe's text for its status.
    pub status: String,
    /// The invoice number shown to people.
    pub number: String,
    /// The amount to pay.
    pub total: i64,
    /// How often collecting was tried.
    pub attempt_count: u64,
    /// When it was created and finalized.
    pub created: Timestamp,
    /// The period that it covers.
    pub period: Period,
    /// `subscription_create`, `subscription_cycle` or `subscription_update`.
    pub reason: String,
    /// When collecting failed for the first time.
    pub first_failure_at: Option<Timestamp>,
    /// When it was paid, voided or marked uncollectible.
    pub settled_at: Option<Timestamp>,
}

impl SampleInvoice {
    /// The object in this version's shape.
    #[must_use]
    pub fn render(&self, shape: ApiShape) -> Value {
        let of = &self.subscription;
        let paid = self.status == "paid";
        let settled_as =
            |status: &str| self.settled_at.filter(|_| self.status == status).map(Timestamp::secs);
        let amount_paid = if paid { self.total } else { 0 };
        let mut object = json!({
            "id": self.id,
            "object": "invoice",
            "account_country": "US",
            "account_name": "DriftLock",
            "amount_due": self.total,
            "amount_paid": amount_paid,
            "amount_remaining": self.total - amount_paid,
            "amount_shipping": 0,
            "attempt_count": self.attempt_count,
            "attempted": self.attempt_count > 0,
            "auto_advance": !paid,
            "automatic_tax": { "enabled": false, "liability": null, "status": null },
            "billing_reason": self.reason,
            "collection_method": "charge_automatically",
            "created": self.created.secs(),
            "currency": "usd",
            "customer": of.customer,
            "customer_email": "billing@example.com",
            "default_tax_rates": [],
            "description": null,
            "discounts": [],
            "due_date": null,
            "effective_at": self.created.secs(),
            "ending_balance": 0,
            "hosted_invoice_url": format!("https://invoice.stripe.example/i/{}", self.id),
            "invoice_pdf": format!("https://invoice.stripe.example/i/{}/pdf", self.id),
            "lines": {
                "object": "list",
                "data": [self.line(shape)],
                "has_more": false,
                "total_count": 1,
                "url": format!("/v1/invoices/{}/lines", self.id),
            },
            "livemode": of.livemode,
            "metadata": {},
            "next_payment_attempt": null,
            "number": self.number,
            "period_end": self.period.end.secs(),
            "period_start": self.period.start.secs(),
            "starting_balance": 0,
            "status": self.status,
            "status_transitions": {
                "finalized_at": self.created.secs(),
                "marked_uncollectible_at": settled_as("uncollectible"),
                "paid_at": settled_as("paid"),
                "voided_at": settled_as("void"),
            },
            "subtotal": self.total,
            "test_clock": null,
            "total": self.total,
            "webhooks_delivered_at": self.created.secs(),
        });
        overlay(&mut object, &unused::of_invoice(shape, self.total));
        if shape != ApiShape::Y2024 {
            object["automatic_tax"]["disabled_reason"] = Value::Null;
        }
        let details = json!({ "metadata": of.metadata() });
        if shape.has_new_paths() {
            object["automatic_tax"]["provider"] = Value::Null;
            // These members still exist and are empty: `parent` has the content.
            object["subscription"] = Value::Null;
            object["parent"] = json!({
                "quote_details": null,
                "subscription_details": { "metadata": of.metadata(), "subscription": of.id },
                "type": "subscription_details",
            });
        } else {
            object["subscription"] = of.id.clone().into();
            object["subscription_details"] = details;
            object["paid"] = paid.into();
            object["charge"] = Value::Null;
            object["payment_intent"] = Value::Null;
            object["tax"] = Value::Null;
        }
        object
    }

    fn line(&self, shape: ApiShape) -> Value {
        let of = &self.subscription;
        let mut line = json!({
            "id": self.line,
            "object": "line_item",
            "amount": self.total,
            "currency": "usd",
            "description": format!("1 × {} (per month)", of.price.id),
            "discountable": true,
            "invoice": self.id,
            "livemode": of.livemode,
            "metadata": of.metadata(),
            "period": { "end": self.period.end.secs(), "start": self.period.start.secs() },
            "quantity": 1,
        });
        overlay(&mut line, &unused::of_line(shape, self.total));
        if shape.has_new_paths() {
            line["subscription"] = Value::Null;
            line["parent"] = json!({
                "invoice_item_details": null,
                "subscription_item_details": {
                    "invoice_item": null,
                    "proration": false,
                    "proration_details": { "credited_items": null },
                    "subscription": of.id,
                    "subscription_item": of.item,
                },
                "type": "subscription_item_details",
            });
            line["pricing"] = json!({
                "price_details": { "price": of.price.id, "product": "prod_DriftLockSample" },
                "type": "price_details",
                "unit_amount_decimal": of.price.cents.to_string(),
            });
        } else {
            line["price"] = money::price(&of.price, of.livemode);
            line["plan"] = money::plan(&of.price, of.livemode);
            line["proration"] = false.into();
            line["subscription"] = of.id.clone().into();
            line["subscription_item"] = of.item.clone().into();
            line["type"] = "subscription".into();
        }
        line
    }
}
