//! The audit log: entries of an organization's hash chain.

use driftlock_domain::audit::{AuditEntry, AuditHash, AuditHead, AuditRecord, Pruned};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::time::Timestamp;

use crate::ledger_cache::{LedgerCache, REMEMBERED_MAX};
use crate::shipment;
use crate::sql::{Row, Sql};

impl LedgerCache {
    /// Appends a record to the organization's chain.
    ///
    /// # Errors
    /// When the database fails.
    pub fn append(
        &mut self,
        sql: &impl Sql,
        organization: OrganizationId,
        record: AuditRecord,
    ) -> Result<(), Fault> {
        let mut head = match self.heads.get(&organization) {
            Some(head) => *head,
            None => head(sql, organization)?,
        };
        let AuditEntry { seq, record, prev_hash, hash } = head.append(record);
        let insert = "INSERT INTO audit_logs (organization, seq, at, actor, action, resource, \
                      outcome, request_id, ip, details, prev_hash, hash) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        let AuditRecord { at, actor, action, resource, outcome, request_id, ip, details } = &record;
        let values = [
            organization.as_bytes().into(),
            seq.into(),
            at.micros().into(),
            (&**actor).into(),
            (&**action).into(),
            (&**resource).into(),
            (&**outcome).into(),
            (&**request_id).into(),
            (&**ip).into(),
            (&**details).into(),
            (&prev_hash.0).into(),
            (&hash.0).into(),
        ];
        sql.execute(insert, &values)?;
        if self.heads.len() >= REMEMBERED_MAX {
            self.heads.clear();
        }
        self.heads.insert(organization, head);
        Ok(())
    }

    /// Removes the oldest of an organization's entries that are older than `before`, at most
    /// 5,000 at once, and writes the checkpoint. Returns the number of removed entries.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune(
        &mut self,
        sql: &impl Sql,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.prune_until(sql, organization, u64::MAX, before, now)
    }

    /// As [`Self::prune`], but removes only entries that are mirrored.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune_mirrored(
        &mut self,
        sql: &impl Sql,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        let mirrored = shipment::cursor(sql)?.audit;
        self.prune_until(sql, organization, mirrored, before, now)
    }

    fn prune_until(
        &mut self,
        sql: &impl Sql,
        organization: OrganizationId,
        last: u64,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        let mut oldest = entries(sql, organization, 0, PRUNED_MAX)?;
        oldest.retain(|entry| entry.seq <= last);
        let Some(pruned) = Pruned::of(&oldest, before) else { return Ok(0) };
        self.append(sql, organization, pruned.record(organization, now))?;
        let AuditHead { seq, hash } = pruned.checkpoint;
        let id = organization.as_bytes();
        let note = "INSERT INTO audit_checkpoints (organization, seq, hash) \
                    VALUES (?1, ?2, ?3) ON CONFLICT (organization) DO UPDATE SET \
                    seq = excluded.seq, hash = excluded.hash";
        sql.execute(note, &[id.into(), seq.into(), (&hash.0).into()])?;
        let delete = "DELETE FROM audit_logs WHERE organization = ?1 AND seq <= ?2";
        sql.execute(delete, &[id.into(), seq.into()])?;
        Ok(pruned.entries)
    }
}

/// The maximum number of entries removed in one commit.
const PRUNED_MAX: usize = 5_000;

/// An organization's checkpoint: the last entry that was removed from its chain.
///
/// # Errors
/// When the database fails.
pub fn checkpoint(sql: &impl Sql, organization: OrganizationId) -> Result<AuditHead, Fault> {
    let query = "SELECT seq, hash FROM audit_checkpoints WHERE organization = ?1";
    let found = sql.first(query, &[organization.as_bytes().into()], |row| {
        Ok(AuditHead { seq: row.number(0)?, hash: AuditHash(row.bytes(1)?) })
    })?;
    Ok(found.unwrap_or_else(|| AuditHead::empty(organization)))
}

/// The head of an organization's chain.
///
/// # Errors
/// When the database fails.
pub fn head(sql: &impl Sql, organization: OrganizationId) -> Result<AuditHead, Fault> {
    let query =
        "SELECT seq, hash FROM audit_logs WHERE organization = ?1 ORDER BY seq DESC LIMIT 1";
    let head = sql.first(query, &[organization.as_bytes().into()], |row| {
        Ok(AuditHead { seq: row.number(0)?, hash: AuditHash(row.bytes(1)?) })
    })?;
    Ok(head.unwrap_or_else(|| AuditHead::empty(organization)))
}

/// Entries with a number above `after`, in order; at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn entries(
    sql: &impl Sql,
    organization: OrganizationId,
    after: u64,
    limit: usize,
) -> Result<Vec<AuditEntry>, Fault> {
    let query = "SELECT seq, at, actor, action, resource, outcome, request_id, ip, details, \
                 prev_hash, hash FROM audit_logs \
                 WHERE organization = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    let values = [organization.as_bytes().into(), after.into(), (limit as u64).into()];
    sql.query(query, &values, entry)
}

fn entry(row: Row<'_>) -> Result<AuditEntry, Fault> {
    Ok(AuditEntry {
        seq: row.number(0)?,
        record: AuditRecord {
            at: Timestamp::from_micros(row.int(1)?),
            actor: row.text(2)?.into(),
            action: row.text(3)?.into(),
            resource: row.text(4)?.into(),
            outcome: row.text(5)?.into(),
            request_id: row.text(6)?.into(),
            ip: row.text(7)?.into(),
            details: row.text(8)?.into(),
        },
        prev_hash: AuditHash(row.bytes(9)?),
        hash: AuditHash(row.bytes(10)?),
    })
}
