//! What a ledger that lives apart (a Durable Object) tells the book of record: sums, receipts, audit
//! entries, in portions that may be told again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::AuditEntry;
use crate::id::{KeyId, UsageId};
use crate::period::Period;
use crate::receipt::Receipt;
use crate::time::Timestamp;

/// Receipts are told once no request that began before them can still be under way: their numbers are
/// given when a request is admitted.
pub const RECEIPTS_AFTER: Duration = Duration::from_secs(3_600);
/// Sums of this long before the last hour that was told are told again: a settlement may be taken back.
pub const SUMS_AGAIN: Duration = Duration::from_secs(7_200);

/// How far it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipCursor {
    /// The last hour whose sums were told.
    pub hour: Timestamp,
    /// The last receipt.
    pub usage: UsageId,
    /// The last audit entry.
    pub audit: u64,
}

/// An hour's sum of one key and route; it takes the place of what was told of them before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShippedSum {
    /// The billing period.
    pub period: Period,
    /// The hour's start.
    pub hour: Timestamp,
    /// The key.
    pub key: KeyId,
    /// The route, as `METHOD /template`.
    pub route: String,
    /// Units settled.
    pub units: u64,
    /// Metered requests settled.
    pub requests: u64,
}

/// A receipt, in its period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShippedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// The billing period.
    pub period: Period,
    /// Whether it was taken back.
    pub voided: bool,
}

/// A portion, and where the next begins once this one is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// Sums of whole hours.
    pub sums: Vec<ShippedSum>,
    /// Receipts.
    pub receipts: Vec<ShippedReceipt>,
    /// Audit entries.
    pub audit: Vec<AuditEntry>,
    /// Where the next one begins.
    pub cursor: ShipCursor,
    /// When there is more to tell.
    pub more: More,
}

/// When there is more to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum More {
    /// When something happens.
    Nothing,
    /// When the receipts that there are may be told.
    Later,
    /// At once.
    Now,
}

impl Default for ShipCursor {
    /// Nothing was told.
    fn default() -> Self {
        Self { hour: Timestamp::default(), usage: UsageId::from_bytes([0; 16]), audit: 0 }
    }
}

impl Shipment {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty() && self.receipts.is_empty() && self.audit.is_empty()
    }
}
