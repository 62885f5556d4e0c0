use serde_json::json;

use super::*;
use crate::organization::SubscriptionStatus;
use crate::period::Period;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

#[test]
fn a_subscription_is_the_same_in_both_shapes() {
    let new = json!({
        "id": "sub_1", "customer": { "id": "cus_1", "object": "customer" }, "status": "active",
        "cancel_at": 30, "created": 5, "latest_invoice": { "id": "in_1" },
        "metadata": { "organization": "org_1" },
        "items": { "data": [
            { "id": "si_2", "price": { "id": "price_b" }, "current_period_start": 10, "current_period_end": 30 },
            { "id": "si_1", "price": "price_a", "current_period_start": 10, "current_period_end": 30 } ] }
    });
    let old = json!({
        "id": "sub_1", "customer": "cus_1", "status": "active", "cancel_at": null,
        "cancel_at_period_end": true, "created": 5, "latest_invoice": "in_1",
        "metadata": { "organization": "org_1" },
        "current_period_start": 10, "current_period_end": 30,
        "items": { "data": [ { "id": "si_1", "plan": { "id": "price_a" } }, { "id": "si_2", "price": { "id": "price_b" } } ] }
    });
    let (new, old) = (Subscription::read(&new), Subscription::read(&old));
    assert_eq!(new, old);
    let read = new.expect("an id");
    assert_eq!(read.cancel_at, Some(at(30)));
    assert_eq!(read.items[0].period, Some(Period { start: at(10), end: at(30) }));
    assert_eq!(read.prices().into_iter().collect::<Vec<_>>(), ["price_a", "price_b"]);
    assert_eq!(read.organization.as_deref(), Some("org_1"));
}

#[test]
fn a_status_that_stripe_added_later_is_kept() {
    let read = Subscription::read(&json!({ "id": "sub_1", "status": "on_hold" })).expect("an id");
    assert_eq!(read.status, Some(SubscriptionStatus::Other("on_hold".into())));
    assert!(Subscription::read(&json!({ "status": "active" })).is_err());
    let bare =
        Subscription::read(&json!({ "id": "s", "items": 7, "customer": [] })).expect("an id");
    assert_eq!((bare.customer, bare.items.len(), bare.status), (None, 0, None));
}

#[test]
fn a_subscription_of_the_age_of_plans_has_one_item() {
    let read = Subscription::read(&json!({
        "id": "sub_1", "plan": { "id": "silver" }, "current_period_start": 1, "current_period_end": 9
    }));
    assert_eq!(read.expect("an id").items[0].price.as_deref(), Some("silver"));
}

#[test]
fn an_invoice_is_the_same_in_both_shapes() {
    let new = json!({
        "id": "in_1", "customer": "cus_1", "status": "open", "amount_due": 13_650, "currency": "usd",
        "parent": { "subscription_details": { "subscription": "sub_1", "metadata": { "organization": "org_1" } } },
        "lines": { "data": [{ "pricing": { "price_details": { "price": "price_a" } } }] }
    });
    let old = json!({
        "id": "in_1", "customer": "cus_1", "status": "open", "amount_due": 13_650, "currency": "usd",
        "subscription": "sub_1", "subscription_details": { "metadata": { "organization": "org_1" } },
        "lines": { "data": [{ "price": { "id": "price_a" } }, { "plan": { "id": "price_a" } }] }
    });
    assert_eq!(Invoice::read(&new), Invoice::read(&old));
    assert_eq!(Invoice::read(&new).subscription.as_deref(), Some("sub_1"));
}

#[test]
fn before_2019_an_invoice_was_paid_or_not() {
    assert_eq!(Invoice::read(&json!({ "paid": true })).status, Some(InvoiceStatus::Paid));
    assert_eq!(Invoice::read(&json!({ "paid": false })).status, None);
    assert!(InvoiceStatus::Open.is_open() && !InvoiceStatus::Uncollectible.is_open());
}

#[test]
fn a_checkout_session_only_links() {
    let read = CheckoutSession::read(&json!({
        "id": "cs_1", "mode": "payment", "subscription": null, "customer": "cus_1",
        "client_reference_id": "org_1"
    }));
    assert_eq!((read.mode, read.subscription), (Some(CheckoutMode::Payment), None));
    assert_eq!(read.client_reference_id.as_deref(), Some("org_1"));
}

#[test]
fn a_dispute_names_the_customer_only_through_an_expanded_charge() {
    let plain = Dispute::read(&json!({ "id": "dp_1", "charge": "ch_1" })).expect("an id");
    assert_eq!((plain.charge.as_deref(), plain.customer), (Some("ch_1"), None));
    let expanded =
        Dispute::read(&json!({ "id": "dp_1", "charge": { "id": "ch_1", "customer": "cus_1" } }));
    assert_eq!(expanded.expect("an id").customer.as_deref(), Some("cus_1"));
}

#[test]
fn former_values_are_put_back_and_found() {
    let mut state = json!({ "a": 1, "m": { "x": "new", "y": 2 }, "l": [1, 2] });
    let previous = json!({ "a": null, "m": { "x": "old" }, "l": [9] });
    assert!(!covers(&state, &previous));
    overlay(&mut state, &previous);
    assert_eq!(state, json!({ "a": null, "m": { "x": "old", "y": 2 }, "l": [9] }));
    assert!(covers(&state, &previous));
    assert!(covers(&json!({}), &json!({ "a": null })), "absent and null are the same");
}
