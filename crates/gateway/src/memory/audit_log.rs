//! The audit log in memory.

use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;

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
}

impl State {
    pub(super) fn append(&mut self, organization: OrganizationId, record: AuditRecord) {
        let entry = self.head(organization).append(record);
        self.audit.entry(organization).or_default().push(entry);
    }

    fn head(&self, organization: OrganizationId) -> AuditHead {
        let last = self.audit.get(&organization).and_then(|entries| entries.last());
        last.map_or(AuditHead::EMPTY, |entry| AuditHead { seq: entry.seq, hash: entry.hash })
    }
}
