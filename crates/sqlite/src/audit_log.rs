//! The audit log.

use driftlock_domain::audit::{AuditEntry, AuditHash, AuditHead, AuditRecord};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::AuditLog;
use rusqlite::{Row, params};

use crate::rows::{int, uint};
use crate::store::SqliteStore;
use crate::writer::audit;

impl AuditLog for SqliteStore {
    async fn append(&self, records: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault> {
        self.writer()
            .write(move |writer| {
                records
                    .into_iter()
                    .try_for_each(|(organization, record)| writer.append(organization, record))
            })
            .await
    }

    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault> {
        self.readers()
            .read(move |connection| {
                let query = "SELECT seq, at, actor, action, resource, outcome, request_id, ip, \
                             details, prev_hash, hash FROM audit_logs \
                             WHERE organization = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
                let mut statement = connection.prepare_cached(query)?;
                let bounds = params![organization.as_bytes(), int(after), limit];
                statement.query_map(bounds, entry)?.collect()
            })
            .await
    }

    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault> {
        self.readers().read(move |connection| audit::head(connection, organization)).await
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        seq: uint(row.get(0)?),
        record: AuditRecord {
            at: Timestamp::from_micros(row.get(1)?),
            actor: row.get(2)?,
            action: row.get(3)?,
            resource: row.get(4)?,
            outcome: row.get(5)?,
            request_id: row.get(6)?,
            ip: row.get(7)?,
            details: row.get(8)?,
        },
        prev_hash: AuditHash(row.get(9)?),
        hash: AuditHash(row.get(10)?),
    })
}
