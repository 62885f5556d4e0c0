//! Who holds an organization's ledger, where gateways of two kinds share a store.
//!
//! Native gateways admit on leases that the database hands out; at the edge an organization's object
//! admits by itself. Both at once would double a cap (I4), so the store records which one it is, and
//! the other kind refuses metered requests. Moving takes effect at once for who gets units, and is
//! over when the units that are still leased have lapsed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A kind of ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// The database, which leases units to native gateways.
    Leases,
    /// The organization's Durable Object.
    Objects,
}

/// Who holds an organization's ledger now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerHolder {
    /// The kind; none before the first metered request, which decides it.
    pub authority: Option<Authority>,
    /// For how long units that were leased before it moved may still be used.
    pub lapses_in: Duration,
}
