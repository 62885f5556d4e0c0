//! The audit log in memory.

use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord, Pruned};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::time::Timestamp;

use super::{MemoryStore, State};
use crate::ports::AuditLog;

impl AuditLog for MemoryStore {
    async fn append(&self, records: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault> {
        let mut state = self.state();
        for (organization, record) in records {
            state.append(organization, record);
        }
        Ok(())
    }

    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        let state = self.state();
        let entries = state.audit.get(&organization).map_or(&[][..], Vec::as_slice);
        let later = entries.iter().filter(|entry| entry.seq > after);
        Ok(later.take(limit).cloned().collect())
    }

    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        Ok(self.state().head(organization))
    }

    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        let state = self.state();
        Ok(state
            .checkpoints
            .get(&organization)
            .copied()
            .unwrap_or_else(|| AuditHead::empty(organization)))
    }

    async fn prune(
        &self,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        let mut state = self.state();
        let chain = state.audit.get(&organization).map_or(&[][..], Vec::as_slice);
        let Some(pruned) = Pruned::of(chain, before) else { return Ok(0) };
        state.append(organization, pruned.record(organization, now));
        state.checkpoints.insert(organization, pruned.checkpoint);
        let chain = state.audit.entry(organization).or_default();
        chain.retain(|entry| entry.seq > pruned.checkpoint.seq);
        Ok(pruned.entries)
    }
}

impl State {
    pub(super) fn append(&mut self, organization: OrganizationId, record: AuditRecord) {
        let entry = self.head(organization).append(record);
        self.audit.entry(organization).or_default().push(entry);
    }

    fn head(&self, organization: OrganizationId) -> AuditHead {
        let last = self.audit.get(&organization).and_then(|entries| entries.last());
        last.map_or_else(
            || AuditHead::empty(organization),
            |entry| AuditHead { seq: entry.seq, hash: entry.hash },
        )
    }
}
