//! The gateway's store ports over an object's storage.

use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::{IdempotencyKey, Kept};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement, UsageSummary};
use driftlock_gateway::ports::{AuditLog, Ledger, UsageRecords};
use driftlock_sqlite_core as core;

use super::settler;
use super::store::ObjectStore;

impl Ledger for ObjectStore {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        self.write(|cache, sql| cache.lease(sql, organization, node, ask, now))
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        settler::settle(self, settlement, now).await
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        self.write(|cache, sql| cache.void(sql, organization, usage))?
    }
}

impl UsageRecords for ObjectStore {
    async fn usage(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        in_force: Period,
        grouping: Grouping,
    ) -> Result<Option<UsageSummary>, Fault> {
        core::summary(self.sql(), organization, at, in_force, grouping)
    }

    async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault> {
        core::receipt(self.sql(), usage)
    }

    async fn kept(
        &self,
        _organization: OrganizationId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Kept>, Fault> {
        core::kept(self.sql(), key, now)
    }

    async fn purge_kept(&self, now: Timestamp) -> Result<u64, Fault> {
        self.write(|_, sql| core::purge_kept(sql, now))
    }
}

impl AuditLog for ObjectStore {
    async fn append(&self, records: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault> {
        self.write(|cache, sql| {
            records
                .into_iter()
                .try_for_each(|(organization, record)| cache.append(sql, organization, record))
        })
    }

    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        core::entries(self.sql(), organization, after, limit)
    }

    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        core::head(self.sql(), organization)
    }

    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        core::checkpoint(self.sql(), organization)
    }

    async fn prune(
        &self,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.write(|cache, sql| cache.prune(sql, organization, before, now))
    }
}
