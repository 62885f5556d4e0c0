//! Members of invoices and Checkout Sessions that a sample does not use; real ones have them, at
//! these values. <https://docs.stripe.com/api/invoices/object>,
//! <https://docs.stripe.com/api/checkout/sessions/object>

use serde_json::{Value, json};

use super::ApiShape;

/// The members of an invoice over so many cents.
pub(super) fn of_invoice(shape: ApiShape, total: i64) -> Value {
    let mut members = json!({
        "account_tax_ids": null,
        "application": null,
        "custom_fields": null,
        "customer_address": null,
        "customer_name": null,
        "customer_phone": null,
        "customer_shipping": null,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": null,
        "default_source": null,
        "footer": null,
        "from_invoice": null,
        "issuer": { "type": "self" },
        "last_finalization_error": null,
        "latest_revision": null,
        "on_behalf_of": null,
        "payment_settings": {
            "default_mandate": null,
            "payment_method_options": null,
            "payment_method_types": null,
        },
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": null,
        "rendering": null,
        "shipping_cost": null,
        "shipping_details": null,
        "statement_descriptor": null,
        "subtotal_excluding_tax": total,
        "total_discount_amounts": [],
        "total_excluding_tax": total,
    });
    if shape != ApiShape::Y2024 {
        members["automatically_finalizes_at"] = Value::Null;
        members["total_pretax_credit_amounts"] = json!([]);
    }
    if shape.has_new_paths() {
        members["amount_overpaid"] = 0.into();
        members["total_taxes"] = json!([]);
    } else {
        for name in ["application_fee_amount", "discount", "quote", "transfer_data"] {
            members[name] = Value::Null;
        }
        members["paid_out_of_band"] = false.into();
        members["total_tax_amounts"] = json!([]);
    }
    members
}

/// The members of an invoice line.
pub(super) fn of_line(shape: ApiShape, total: i64) -> Value {
    let mut members = json!({ "discount_amounts": [], "discounts": [] });
    if shape != ApiShape::Y2024 {
        members["pretax_credit_amounts"] = json!([]);
    }
    if shape.has_new_paths() {
        members["taxes"] = json!([]);
    } else {
        members["amount_excluding_tax"] = total.into();
        members["invoice_item"] = Value::Null;
        members["proration_details"] = json!({ "credited_items": null });
        members["tax_amounts"] = json!([]);
        members["tax_rates"] = json!([]);
        members["unit_amount_excluding_tax"] = total.to_string().into();
    }
    members
}

/// The members of a Checkout Session.
pub(super) fn of_session() -> Value {
    json!({
        "adaptive_pricing": { "enabled": false },
        "after_expiration": null,
        "allow_promotion_codes": null,
        "billing_address_collection": null,
        "client_secret": null,
        "collected_information": null,
        "consent": null,
        "consent_collection": null,
        "currency_conversion": null,
        "custom_fields": [],
        "custom_text": {
            "after_submit": null,
            "shipping_address": null,
            "submit": null,
            "terms_of_service_acceptance": null,
        },
        "customer_account": null,
        "customer_creation": null,
        "discounts": null,
        "integration_identifier": null,
        "invoice_creation": null,
        "locale": null,
        "managed_payments": { "enabled": false },
        "origin_context": null,
        "payment_link": null,
        "payment_method_collection": "always",
        "payment_method_configuration_details": null,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "permissions": null,
        "phone_number_collection": { "enabled": false },
        "recovered_from": null,
        "saved_payment_method_options": null,
        "shipping_address_collection": null,
        "shipping_cost": null,
        "shipping_options": [],
        "submit_type": null,
        "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
        "ui_mode": "hosted",
        "wallet_options": null,
    })
}
