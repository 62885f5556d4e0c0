//! What a Durable Object's ledger sends to the mirror in Supabase: hourly sums, receipts and audit
//! entries. They are sent in portions; sending a portion again changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::AuditEntry;
use crate::id::{KeyId, UsageId};
use crate::period::Period;
use crate::receipt::Receipt;
use crate::time::Timestamp;

/// The age at which a receipt is sent. A receipt gets its number when its request is admitted, and
/// receipts are sent in order of number: no request with a lower number may still be in progress.
pub const RECEIPTS_AFTER: Duration = Duration::from_secs(3_600);
/// Sums of this long before the last sent hour are sent again, since a settlement may be voided.
pub const SUMS_AGAIN: Duration = Duration::from_secs(7_200);

/// What was mirrored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipCursor {
    /// The last hour whose sums were mirrored.
    pub hour: Timestamp,
    /// The last mirrored receipt.
    pub usage: UsageId,
    /// The sequence number of the last mirrored audit entry.
    pub audit: u64,
}

/// An hour's sum of one key and route; it replaces the sum that was mirrored before.
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
    /// Whether its settlement was voided.
    pub voided: bool,
}

/// One portion, and the cursor to keep once the portion is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// Sums of whole hours.
    pub sums: Vec<ShippedSum>,
    /// Receipts.
    pub receipts: Vec<ShippedReceipt>,
    /// Audit entries.
    pub audit: Vec<AuditEntry>,
    /// Where the next portion begins.
    pub cursor: ShipCursor,
    /// When the next portion can be sent.
    pub more: More,
}

/// When the next portion can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum More {
    /// After new usage or a new audit entry: everything is mirrored.
    Nothing,
    /// When the remaining receipts are [`RECEIPTS_AFTER`] old.
    Later,
    /// Immediately.
    Now,
}

impl Default for ShipCursor {
    /// Nothing is mirrored yet.
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
