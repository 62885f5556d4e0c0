//! The writer's cache between transactions: ledgers, heads of audit chains, ids of routes.
//!
//! The cache is ahead of the database only inside a transaction. After a rollback the host calls
//! [`LedgerCache::forget`], and the entries are read again.

use std::collections::HashMap;

use driftlock_domain::audit::AuditHead;
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::lease::LeaseGrantor;
use driftlock_domain::time::Timestamp;

use crate::counters::Counters;
use crate::sql::Sql;

/// The maximum number of cached organizations. At the limit the cache is emptied.
pub(crate) const REMEMBERED_MAX: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub struct LedgerCache {
    pub(crate) ledgers: HashMap<OrganizationId, CachedLedger>,
    /// The terms of each organization's last lease. They stay after a rollback.
    pub(crate) terms: HashMap<OrganizationId, Terms>,
    pub(crate) heads: HashMap<OrganizationId, AuditHead>,
    pub(crate) routes: HashMap<String, i64>,
    pub(crate) counters: Counters,
    /// The settlements of the current group so far.
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
    /// Writes the counters of a group of settlements. To be called before the group's commit.
    ///
    /// # Errors
    /// When the database fails.
    pub fn before_commit(&mut self, sql: &impl Sql) -> Result<(), Fault> {
        self.write_counters(sql)
    }

    /// Returns the group's settlements and begins the next group.
    pub fn take_group(&mut self) -> Group {
        std::mem::take(&mut self.group)
    }

    /// Drops the cache after a rollback.
    pub fn forget(&mut self) {
        self.ledgers.clear();
        self.heads.clear();
        self.routes.clear();
        self.counters = Counters::default();
        self.group = Group::default();
    }
}
