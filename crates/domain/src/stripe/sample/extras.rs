//! Sample objects that are neither a subscription nor an invoice.

use serde_json::{Value, json};

use super::unused;
use crate::stripe::object::overlay;
use crate::time::Timestamp;

/// A completed Checkout Session; `subscription` is `None` in `payment` mode.
#[must_use]
pub fn checkout_session(
    id: &str,
    organization: &str,
    customer: &str,
    subscription: Option<&str>,
    created: Timestamp,
    livemode: bool,
) -> Value {
    let mut session = json!({
        "id": id,
        "object": "checkout.session",
        "amount_subtotal": 4_900,
        "amount_total": 4_900,
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "cancel_url": "https://example.com/cancel",
        "client_reference_id": organization,
        "created": created.secs(),
        "currency": "usd",
        "customer": customer,
        "customer_details": {
            "address": null,
            "business_name": null,
            "email": "billing@example.com",
            "individual_name": null,
            "name": null,
            "phone": null,
            "tax_exempt": "none",
            "tax_ids": [],
        },
        "customer_email": null,
        "expires_at": created.secs() + 86_400,
        "invoice": null,
        "livemode": livemode,
        "metadata": { "organization": organization },
        "mode": if subscription.is_some() { "subscription" } else { "payment" },
        "payment_intent": null,
        "payment_status": "paid",
        "setup_intent": null,
        "status": "complete",
        "subscription": subscription,
        "success_url": "https://example.com/success",
        "url": null,
    });
    overlay(&mut session, &unused::of_session());
    session
}

/// A customer.
#[must_use]
pub fn customer(id: &str, organization: &str, created: Timestamp, livemode: bool) -> Value {
    json!({
        "id": id,
        "object": "customer",
        "address": null,
        "balance": 0,
        "created": created.secs(),
        "currency": "usd",
        "default_source": null,
        "delinquent": false,
        "description": null,
        "email": "billing@example.com",
        "invoice_prefix": "DRIFT",
        "livemode": livemode,
        "metadata": { "organization": organization },
        "name": "Sample",
        "next_invoice_sequence": 2,
        "phone": null,
        "preferred_locales": [],
        "shipping": null,
        "tax_exempt": "none",
        "test_clock": null,
    })
}

/// A dispute of a charge, which is expanded so that it names the customer.
#[must_use]
pub fn dispute(
    id: &str,
    charge: &str,
    customer: &str,
    created: Timestamp,
    livemode: bool,
) -> Value {
    json!({
        "id": id,
        "object": "dispute",
        "amount": 4_900,
        "balance_transactions": [],
        "charge": { "id": charge, "object": "charge", "customer": customer, "livemode": livemode },
        "created": created.secs(),
        "currency": "usd",
        "evidence": {},
        "evidence_details": {
            "due_by": created.secs() + 9 * 86_400,
            "has_evidence": false,
            "past_due": false,
            "submission_count": 0,
        },
        "is_charge_refundable": true,
        "livemode": livemode,
        "metadata": {},
        "payment_intent": null,
        "reason": "fraudulent",
        "status": "needs_response",
    })
}

/// The `data` of a thin event about meter events that were found invalid.
#[must_use]
pub fn meter_error_report(identifiers: &[&str], validated_until: Timestamp) -> Value {
    let samples: Vec<Value> = identifiers
        .iter()
        .map(|identifier| {
            json!({
                "error_message": "Customer mapping key stripe_customer_id not found in payload.",
                "request": { "identifier": identifier },
            })
        })
        .collect();
    let count = samples.len();
    json!({
        "developer_message_summary": format!("There is {count} invalid event"),
        "reason": {
            "error_count": count,
            "error_types": [{
                "code": "meter_event_no_customer_defined",
                "error_count": count,
                "sample_errors": samples,
            }],
        },
        "validation_start": validated_until.minus(std::time::Duration::from_secs(10)).to_string(),
        "validation_end": validated_until.to_string(),
    })
}
