//! The audit log.

use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::AuditLog;
use driftlock_sqlite_core as core;

use crate::store::SqliteStore;

impl AuditLog for SqliteStore {
    async fn append(&self, records: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault> {
        self.writer()
            .write(move |cache, sql| {
                records
                    .into_iter()
                    .try_for_each(|(organization, record)| cache.append(sql, organization, record))
            })
            .await
    }

    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        self.readers().read(move |sql| core::entries(sql, organization, after, limit)).await
    }

    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.readers().read(move |sql| core::head(sql, organization)).await
    }

    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.readers().read(move |sql| core::checkpoint(sql, organization)).await
    }

    async fn prune(
        &self,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.writer().write(move |cache, sql| cache.prune(sql, organization, before, now)).await
    }
}
