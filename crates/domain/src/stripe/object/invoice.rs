//! An invoice, in the shape of any API version.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{expandable, field, list, path, reference, text, unix};
use crate::time::Timestamp;

/// The members of an invoice object that matter here. An upcoming invoice has no id yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// `in_…`.
    pub id: Option<String>,
    /// The subscription that it is for.
    pub subscription: Option<String>,
    /// The customer that pays it, `cus_…`.
    pub customer: Option<String>,
    /// Its status; `None` for an unpaid invoice from before 2019, when there was no `status`.
    pub status: Option<InvoiceStatus>,
    /// The invoice number shown to people.
    pub number: Option<String>,
    /// The amount due, in the currency's smallest unit (cents).
    pub amount_due: i64,
    /// The amount paid, in the currency's smallest unit.
    pub amount_paid: i64,
    /// The amount left to pay, in the currency's smallest unit.
    pub amount_remaining: i64,
    /// The total after discounts and tax, in the currency's smallest unit.
    pub total: i64,
    /// `usd`, ….
    pub currency: Option<String>,
    /// Where the customer can see and pay it.
    pub hosted_invoice_url: Option<String>,
    /// The start of the time that it covers.
    pub period_start: Option<Timestamp>,
    /// The end of the time that it covers.
    pub period_end: Option<Timestamp>,
    /// How often collecting was tried.
    pub attempt_count: u64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it is due, if it is sent to the customer.
    pub due_date: Option<Timestamp>,
    /// How it is collected.
    pub collection: Option<Collection>,
    /// When collecting is tried next.
    pub next_payment_attempt: Option<Timestamp>,
    /// Why it was created: `subscription_create`, `subscription_cycle`, ….
    pub billing_reason: Option<String>,
    /// The prices of its lines, in order, each once.
    pub prices: Vec<String>,
    /// `metadata.organization` of its subscription.
    pub organization: Option<String>,
}

/// How an invoice is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Collection {
    /// Stripe charges the customer's payment method.
    ChargeAutomatically,
    /// The invoice is sent, and the customer pays it by its due date.
    SendInvoice,
}

/// Stripe's invoice statuses; open, since Stripe may add to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// A draft, not final.
    Draft,
    /// Final and to be paid.
    Open,
    /// Not expected to be paid; can still be paid.
    Uncollectible,
    /// Void: it need not be paid.
    Void,
    /// Paid.
    Paid,
    /// A status that Stripe added later.
    #[serde(untagged)]
    Other(String),
}

impl Invoice {
    /// Reads an invoice object.
    #[must_use]
    pub fn read(object: &Value) -> Self {
        let details = path(object, &["parent", "subscription_details"]);
        let older = field(object, "subscription_details");
        let mut prices: Vec<String> = list(object, "lines").iter().filter_map(price).collect();
        prices.sort();
        prices.dedup();
        Self {
            id: text(object, "id").map(str::to_owned),
            subscription: details
                .and_then(|details| reference(details, "subscription"))
                .or_else(|| reference(object, "subscription"))
                .map(str::to_owned),
            customer: reference(object, "customer").map(str::to_owned),
            status: status(object),
            number: text(object, "number").map(str::to_owned),
            amount_due: cents(object, "amount_due"),
            amount_paid: cents(object, "amount_paid"),
            amount_remaining: cents(object, "amount_remaining"),
            total: cents(object, "total"),
            currency: text(object, "currency").map(str::to_owned),
            hosted_invoice_url: text(object, "hosted_invoice_url").map(str::to_owned),
            period_start: unix(object, "period_start"),
            period_end: unix(object, "period_end"),
            attempt_count: field(object, "attempt_count").and_then(Value::as_u64).unwrap_or(0),
            created: unix(object, "created").or_else(|| unix(object, "date")),
            due_date: unix(object, "due_date"),
            collection: collection(object),
            next_payment_attempt: unix(object, "next_payment_attempt"),
            billing_reason: text(object, "billing_reason").map(str::to_owned),
            prices,
            organization: [details, older]
                .into_iter()
                .flatten()
                .find_map(|details| path(details, &["metadata", "organization"])?.as_str())
                .map(str::to_owned),
        }
    }
}

impl InvoiceStatus {
    /// Whether it is to be paid. A draft is not open yet; a paid, void or uncollectible invoice is
    /// not open any more.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Open | Self::Other(_) => true,
            Self::Draft | Self::Uncollectible | Self::Void | Self::Paid => false,
        }
    }

    /// The progress of an invoice: it never goes back to a lower rank.
    #[must_use]
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Other(_) => 0,
            Self::Draft => 1,
            Self::Open => 2,
            Self::Uncollectible => 3,
            Self::Void => 4,
            Self::Paid => 5,
        }
    }
}

/// Before 2019 there was no `status`; `paid` stated whether the invoice was paid.
fn status(object: &Value) -> Option<InvoiceStatus> {
    match text(object, "status") {
        Some("draft") => Some(InvoiceStatus::Draft),
        Some("open") => Some(InvoiceStatus::Open),
        Some("uncollectible") => Some(InvoiceStatus::Uncollectible),
        Some("void") => Some(InvoiceStatus::Void),
        Some("paid") => Some(InvoiceStatus::Paid),
        Some(other) => Some(InvoiceStatus::Other(other.to_owned())),
        None => match field(object, "paid").and_then(Value::as_bool) {
            Some(true) => Some(InvoiceStatus::Paid),
            Some(false) | None => None,
        },
    }
}

/// Before 2018-05 the member was called `billing`.
fn collection(object: &Value) -> Option<Collection> {
    match text(object, "collection_method").or_else(|| text(object, "billing"))? {
        "charge_automatically" => Some(Collection::ChargeAutomatically),
        "send_invoice" => Some(Collection::SendInvoice),
        _ => None,
    }
}

fn price(line: &Value) -> Option<String> {
    path(line, &["pricing", "price_details", "price"])
        .or_else(|| field(line, "price"))
        .or_else(|| field(line, "plan"))
        .and_then(expandable)
        .map(str::to_owned)
}

fn cents(object: &Value, name: &str) -> i64 {
    field(object, name).and_then(Value::as_i64).unwrap_or(0)
}
