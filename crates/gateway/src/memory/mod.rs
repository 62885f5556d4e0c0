//! The reference store: everything in memory, behind one lock, as simple as possible.
//!
//! Tests compare other stores with it. It can lease chunks to several nodes, so that leases are
//! tested without a database. It is not durable, so no host uses it.

mod audit_log;
mod claims;
mod directory;
mod inbox;
mod ledger;
mod reports;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftlock_domain::audit::{AuditEntry, AuditHead};
use driftlock_domain::entitlement::FrozenTerms;
use driftlock_domain::id::{KeyId, OrganizationId, UsageId};
use driftlock_domain::idempotency::{IdempotencyKey, Kept};
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::lease::{LeaseGrantor, Sharing};
use driftlock_domain::organization::Organization;
use driftlock_domain::period::{Period, PeriodId};
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;

/// The store. Clones share one state.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    sharing: Sharing,
}

#[derive(Debug, Default)]
struct State {
    organizations: BTreeMap<OrganizationId, Organization>,
    keys: BTreeMap<KeyId, KeyRecord>,
    hashes: HashMap<KeyHash, KeyId>,
    audit: HashMap<OrganizationId, Vec<AuditEntry>>,
    checkpoints: HashMap<OrganizationId, AuditHead>,
    inbox: inbox::Inbox,
    outbox: reports::Outbox,
    ledgers: HashMap<OrganizationId, OpenLedger>,
    periods: Vec<(OrganizationId, Period)>,
    /// The terms of the last lease of each period.
    frozen: HashMap<PeriodId, FrozenTerms>,
    events: BTreeMap<UsageId, Event>,
    kept: HashMap<IdempotencyKey, (Kept, Timestamp)>,
    claims: claims::Claims,
}

#[derive(Debug)]
struct OpenLedger {
    lease: LeaseGrantor,
    last_at: Timestamp,
}

#[derive(Debug, Clone)]
struct Event {
    receipt: Receipt,
    period: PeriodId,
    voided: bool,
}

impl MemoryStore {
    /// An empty store that shares units among nodes in this way.
    #[must_use]
    pub fn new(sharing: Sharing) -> Self {
        Self { state: Arc::default(), sharing }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
