//! `metering.on_outage = "journal"`: while the shared store is unreachable, metered requests are
//! served and recorded in a file of this process. They are settled afterwards, each once.
//!
//! Only organizations without any cap are admitted: the store cannot be asked for units, and a cap
//! must never be exceeded (I4). A settlement counts as committed once the file is synced (I1).
//! Later it is settled in the store with the same usage id, so that repeated tries count once; it
//! counts in the period in which the store settles it. Requests with an Idempotency-Key are
//! refused, because only the store knows whether the key is in use.

mod file;
mod refused;
mod thread;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant};
use driftlock_domain::period::PeriodId;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_gateway::JournalGauges;
use driftlock_gateway::ports::Ledger;

use file::Entry;
pub(crate) use thread::Journal;

use super::platform::NativeStore;

/// After how long a store that was unreachable is asked again for a lease.
const ASKED_AGAIN: Duration = Duration::from_secs(2);
/// Organizations without a cap that are remembered; requests of others are refused during an
/// outage.
const REMEMBERED_MAX: usize = 1 << 16;

/// A store's ledger, with or without a journal. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Outage<S> {
    store: S,
    journal: Option<Arc<Fallback>>,
}

#[derive(Debug)]
struct Fallback {
    journal: Journal,
    /// Organizations without a cap, with the terms of their last request for a lease and their
    /// usage.
    uncapped: Mutex<HashMap<OrganizationId, (Terms, u64)>>,
}

impl<S: NativeStore> Outage<S> {
    pub(crate) fn new(store: S, journal: Option<Journal>) -> Self {
        let fallback = |journal| Arc::new(Fallback { journal, uncapped: Mutex::default() });
        Self { store, journal: journal.map(fallback) }
    }

    /// The journal's metrics, if there is a journal.
    pub(crate) fn gauges(&self) -> Option<Arc<JournalGauges>> {
        self.journal.as_ref().map(|fallback| fallback.journal.gauges())
    }
}

impl Fallback {
    fn uncapped(&self) -> MutexGuard<'_, HashMap<OrganizationId, (Terms, u64)>> {
        self.uncapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the terms and the usage of an organization without a cap.
    fn note(&self, organization: OrganizationId, terms: Terms, used: u64) {
        let mut uncapped = self.uncapped();
        if terms.cap.is_some() {
            uncapped.remove(&organization);
        } else if uncapped.len() < REMEMBERED_MAX || uncapped.contains_key(&organization) {
            uncapped.insert(organization, (terms, used));
        }
    }

    /// A lease for an organization without a cap, granted without the store.
    fn grant(&self, organization: OrganizationId, ask: &LeaseAsk) -> Option<LeaseGrant> {
        if ask.terms.cap.is_some() || !self.journal.has_room() {
            return None;
        }
        let used = self.uncapped().get(&organization).map_or(0, |(_, used)| *used);
        self.note(organization, ask.terms, used);
        Some(LeaseGrant {
            period: PeriodId(0),
            terms: ask.terms,
            reserved: None,
            used,
            ttl: ASKED_AGAIN,
            retry_after: Duration::ZERO,
        })
    }

    /// Writes a settlement that the store did not take to the journal, if that is allowed.
    async fn keep(
        &self,
        settlement: Settlement,
        now: Timestamp,
        fault: Fault,
    ) -> Result<Settled, Fault> {
        let known = self.uncapped().get(&settlement.organization).copied();
        let Some((terms, _)) = known.filter(|_| settlement.claim.is_none()) else {
            return Err(fault);
        };
        self.journal.append(Entry { settlement, terms }).await?;
        Ok(Settled::Committed { at: now, period: PeriodId(0), lease: None })
    }
}

/// Whether the store did not answer, as opposed to having refused.
fn is_away(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Store | FaultKind::Overloaded)
}

impl<S: NativeStore> Ledger for Outage<S> {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        let granted = self.store.lease(organization, node, ask, now).await;
        let Some(fallback) = &self.journal else { return granted };
        match granted {
            Ok(grant) => {
                fallback.note(organization, ask.terms, grant.used);
                Ok(grant)
            }
            Err(fault) if !is_away(&fault) => Err(fault),
            Err(fault) => fallback.grant(organization, ask).ok_or(fault),
        }
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        let Some(fallback) = &self.journal else { return self.store.settle(settlement, now).await };
        match self.store.settle(settlement.clone(), now).await {
            Ok(settled) => Ok(settled),
            Err(fault) if !is_away(&fault) => Err(fault),
            Err(fault) => fallback.keep(settlement, now, fault).await,
        }
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        self.store.void(organization, usage).await
    }
}
