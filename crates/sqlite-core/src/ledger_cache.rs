//! What a writer remembers between transactions: ledgers, heads of chains, numbers of routes.
//!
//! It is only ever ahead of the database inside a transaction; after a rollback
//! [`LedgerCache::forget`] drops it, and it is read anew.

use std::collections::HashMap;

use driftlock_domain::audit::AuditHead;
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::lease::LeaseGrantor;
use driftlock_domain::time::Timestamp;

use crate::counters::Counters;
use crate::sql::Sql;

/// Organizations remembered; beyond, all are forgotten and read anew.
pub(crate) const REMEMBERED_MAX: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub struct LedgerCache {
    pub(crate) ledgers: HashMap<OrganizationId, CachedLedger>,
    /// The terms that each book was last leased under: they outlive a rollback.
    pub(crate) terms: HashMap<OrganizationId, Terms>,
    pub(crate) heads: HashMap<OrganizationId, AuditHead>,
    pub(crate) routes: HashMap<String, i64>,
    pub(crate) counters: Counters,
    /// What the group has settled so far.
    pub(crate) group: Group,
}

/// Settlements of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Group {
    /// How many requests.
    pub settlements: u64,
    /// Their units.
    pub units: u64,
}

#[derive(Debug)]
pub(crate) struct CachedLedger {
    pub(crate) lease: LeaseGrantor,
    /// Commit times are monotone per organization, also across a restart.
    pub(crate) last_at: Timestamp,
}

impl LedgerCache {
    /// Writes what a group of settlements gathered: to be called before its commit.
    ///
    /// # Errors
    /// What the database says.
    pub fn before_commit(&mut self, sql: &impl Sql) -> Result<(), Fault> {
        self.write_counters(sql)
    }

    /// What the group settled; the next group begins with nothing.
    pub fn take_group(&mut self) -> Group {
        std::mem::take(&mut self.group)
    }

    /// After a rollback: nothing of the group remains.
    pub fn forget(&mut self) {
        self.ledgers.clear();
        self.heads.clear();
        self.routes.clear();
        self.counters = Counters::default();
        self.group = Group::default();
    }
}
