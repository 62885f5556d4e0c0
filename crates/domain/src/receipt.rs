//! Receipts: the record of a charge that a customer can look up.

use serde::{Deserialize, Serialize};

use crate::id::{KeyId, OrganizationId, UsageId};
use crate::time::Timestamp;

/// A settled metered request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The number that `X-Usage-Receipt` carried.
    pub id: UsageId,
    /// The organization that paid.
    pub organization_id: OrganizationId,
    /// Which key was used.
    pub key_id: KeyId,
    /// The route, as `METHOD /template`.
    pub route: String,
    /// Units charged.
    pub units: u32,
    /// The request's id.
    pub request_id: String,
    /// When it was settled.
    pub at: Timestamp,
}
