//! The state of invoices: whether they are paid, and since when collecting fails.
//!
//! Two states of one invoice are joined into one. The join is commutative, associative and
//! idempotent: a status only rises, the first failure only moves back. So events may come in any
//! order, and `invoice.paid` beside `invoice.payment_succeeded` changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::{Event, EventKind};
use super::object::{Collection, Invoice, InvoiceStatus};
use crate::time::Timestamp;

/// What is known about one invoice. Amounts are in the currency's smallest unit (cents).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceState {
    /// `in_…`.
    pub id: String,
    /// The subscription that it is for.
    pub subscription: Option<String>,
    /// The customer that pays it, `cus_…`.
    pub customer: Option<String>,
    /// Its status.
    pub status: InvoiceStatus,
    /// The invoice number shown to people.
    pub number: Option<String>,
    /// What is due.
    pub amount_due: i64,
    /// What was paid.
    pub amount_paid: i64,
    /// What is left to pay.
    pub amount_remaining: i64,
    /// The total after discounts and tax.
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
    #[serde(default)]
    pub due_date: Option<Timestamp>,
    /// How it is collected.
    #[serde(default)]
    pub collection: Option<Collection>,
    /// When collecting failed for the first time; retries do not move it.
    pub first_failure_at: Option<Timestamp>,
    /// The time that this state is from.
    pub as_of: Timestamp,
    /// The id of the event that this state is from; empty if it was fetched.
    pub source: String,
}

/// The invoices of a set of events, by id.
#[must_use]
pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeMap<String, InvoiceState> {
    let mut invoices = BTreeMap::new();
    for state in events.into_iter().filter_map(InvoiceState::from_event) {
        let joined = match invoices.remove(&state.id) {
            Some(known) => state.join(known),
            None => state,
        };
        invoices.insert(joined.id.clone(), joined);
    }
    invoices
}

/// Since when any of the invoices is unpaid ([`InvoiceState::unpaid_since`]).
#[must_use]
pub fn unpaid_since<'a>(invoices: impl IntoIterator<Item = &'a InvoiceState>) -> Option<Timestamp> {
    invoices.into_iter().filter_map(InvoiceState::unpaid_since).min()
}

impl InvoiceState {
    /// An invoice's state by an event; `None` if the event is about no invoice that has an id.
    #[must_use]
    pub fn from_event(event: &Event) -> Option<Self> {
        if !event.kind.is_invoice() {
            return None;
        }
        let read = Invoice::read(&event.object);
        let status = match (&event.kind, read.status.clone()) {
            (EventKind::InvoicePaid, _) => InvoiceStatus::Paid,
            (EventKind::InvoiceVoided, _) => InvoiceStatus::Void,
            // An uncollectible invoice may still be paid: the object's status counts.
            (EventKind::InvoiceMarkedUncollectible, None) => InvoiceStatus::Uncollectible,
            (_, Some(status)) => status,
            // A successful payment may be a partial one: the object's status counts if it has one.
            (EventKind::InvoicePaymentSucceeded, None) => InvoiceStatus::Paid,
            (_, None) => InvoiceStatus::Open,
        };
        let failed = event.kind == EventKind::InvoicePaymentFailed;
        let first_failure_at = failed.then_some(event.created);
        Self::of(read, status, first_failure_at, event.created, event.id.clone())
    }

    /// The state of an invoice object that was fetched at `as_of`; `None` if it has no id.
    #[must_use]
    pub fn from_object(fetched: &Value, as_of: Timestamp) -> Option<Self> {
        let read = Invoice::read(fetched);
        let status = read.status.clone().unwrap_or(InvoiceStatus::Open);
        Self::of(read, status, None, as_of, String::new())
    }

    fn of(
        read: Invoice,
        status: InvoiceStatus,
        first_failure_at: Option<Timestamp>,
        as_of: Timestamp,
        source: String,
    ) -> Option<Self> {
        Some(Self {
            id: read.id?,
            subscription: read.subscription,
            customer: read.customer,
            status,
            number: read.number,
            amount_due: read.amount_due,
            amount_paid: read.amount_paid,
            amount_remaining: read.amount_remaining,
            total: read.total,
            currency: read.currency,
            hosted_invoice_url: read.hosted_invoice_url,
            period_start: read.period_start,
            period_end: read.period_end,
            attempt_count: read.attempt_count,
            created: read.created,
            due_date: read.due_date,
            collection: read.collection,
            first_failure_at,
            as_of,
            source,
        })
    }

    /// Joins two states of the same invoice: the one that has progressed further, with the earlier
    /// failure of both. The order of the two does not matter.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let first_failure_at = match (self.first_failure_at, other.first_failure_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let attempt_count = self.attempt_count.max(other.attempt_count);
        let (newer, older) =
            if self.progress() >= other.progress() { (self, other) } else { (other, self) };
        Self {
            first_failure_at,
            attempt_count,
            subscription: newer.subscription.clone().or(older.subscription),
            number: newer.number.clone().or(older.number),
            hosted_invoice_url: newer.hosted_invoice_url.clone().or(older.hosted_invoice_url),
            due_date: newer.due_date.or(older.due_date),
            collection: newer.collection.or(older.collection),
            ..newer
        }
    }

    /// Since when it is unpaid, if it is open: its first failed attempt or, if it is sent to the
    /// customer, its due date, which may lie in the future.
    #[must_use]
    pub fn unpaid_since(&self) -> Option<Timestamp> {
        if !self.status.is_open() {
            return None;
        }
        match self.collection {
            Some(Collection::SendInvoice) => self.due_date.or(self.first_failure_at),
            Some(Collection::ChargeAutomatically) | None => self.first_failure_at,
        }
    }

    fn progress(&self) -> (u8, Timestamp, &str) {
        (self.status.rank(), self.as_of, &self.source)
    }
}

#[cfg(test)]
#[path = "tests/invoices.rs"]
mod tests;
