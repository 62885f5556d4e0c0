//! A history's objects and events in Stripe's form, with only the members that matter.

use driftlock_domain::time::Timestamp;
use serde_json::{Value, json};

use super::history::History;

pub(super) fn event(history: &History, number: usize, kind: &str, object: &Value) -> Value {
    json!({
        "id": format!("evt_{number:03}_{}", history.customer),
        "object": "event",
        "type": kind,
        "created": history.now.secs(),
        "livemode": false,
        "data": { "object": object },
    })
}

pub(super) fn subscription(history: &History, place: usize) -> Value {
    let sold = &history.sold[place];
    let (interval, count) = if sold.months == 12 { ("year", 1) } else { ("month", sold.months) };
    json!({
        "id": sold.id,
        "object": "subscription",
        "customer": history.customer,
        "status": sold.status,
        "created": sold.created.secs(),
        "billing_cycle_anchor": sold.created.secs(),
        "cancel_at": sold.cancel_at.map(Timestamp::secs),
        "ended_at": sold.ended_at.map(Timestamp::secs),
        "currency": sold.currency,
        "collection_method": collection(sold.is_sent),
        "metadata": { "organization": history.organization.to_string() },
        "items": { "object": "list", "data": [
            // Another item of the same subscription, with a price that buys no plan.
            { "id": format!("si_a_{place}"), "quantity": 9, "price": { "id": "price_of_a_seat" },
              "current_period_start": 1, "current_period_end": 2 },
            { "id": format!("si_b_{place}"),
              "quantity": sold.quantity,
              "price": { "id": sold.price, "recurring":
                         { "interval": interval, "interval_count": count } },
              "current_period_start": sold.period.start.secs(),
              "current_period_end": sold.period.end.secs() },
        ] },
    })
}

pub(super) fn invoice(history: &History, number: usize) -> Value {
    let billed = &history.billed[number];
    let sold = &history.sold[billed.subscription];
    json!({
        "id": billed.id,
        "object": "invoice",
        "customer": history.customer,
        "status": billed.status,
        "collection_method": collection(sold.is_sent),
        "created": billed.created.secs(),
        "due_date": billed.due.map(Timestamp::secs),
        "attempt_count": billed.attempts,
        "currency": sold.currency,
        "amount_due": 4_900,
        "total": 4_900,
        "parent": { "subscription_details": {
            "subscription": sold.id,
            "metadata": { "organization": history.organization.to_string() },
        } },
    })
}

pub(super) fn customer(history: &History) -> Value {
    json!({
        "id": history.customer,
        "object": "customer",
        "metadata": { "organization": history.organization.to_string() },
    })
}

const fn collection(is_sent: bool) -> &'static str {
    if is_sent { "send_invoice" } else { "charge_automatically" }
}
