//! Appending to an organization's chain.

use driftlock_domain::audit::{AuditEntry, AuditHash, AuditHead, AuditRecord};
use driftlock_domain::id::OrganizationId;
use rusqlite::{Connection, OptionalExtension, params};

use super::{REMEMBERED_MAX, Writer};
use crate::rows::int;

impl Writer {
    /// Gives a record its place in the chain.
    pub(crate) fn append(
        &mut self,
        organization: OrganizationId,
        record: AuditRecord,
    ) -> rusqlite::Result<()> {
        let mut head = match self.heads.get(&organization) {
            Some(head) => *head,
            None => head(&self.connection, organization)?,
        };
        let AuditEntry { seq, record, prev_hash, hash } = head.append(record);
        let insert = "INSERT INTO audit_logs (organization, seq, at, actor, action, resource, \
                      outcome, request_id, ip, details, prev_hash, hash) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        self.connection.prepare_cached(insert)?.execute(params![
            organization.as_bytes(),
            int(seq),
            record.at.micros(),
            record.actor,
            record.action,
            record.resource,
            record.outcome,
            record.request_id,
            record.ip,
            record.details,
            prev_hash.0,
            hash.0,
        ])?;
        if self.heads.len() >= REMEMBERED_MAX {
            self.heads.clear();
        }
        self.heads.insert(organization, head);
        Ok(())
    }
}

/// The end of an organization's chain.
pub(crate) fn head(
    connection: &Connection,
    organization: OrganizationId,
) -> rusqlite::Result<AuditHead> {
    let query = "SELECT seq, hash FROM audit_logs WHERE organization = ?1 \
                 ORDER BY seq DESC LIMIT 1";
    let head = connection
        .prepare_cached(query)?
        .query_row([organization.as_bytes()], |row| {
            let seq: i64 = row.get(0)?;
            Ok(AuditHead { seq: seq.unsigned_abs(), hash: AuditHash(row.get(1)?) })
        })
        .optional()?;
    Ok(head.unwrap_or(AuditHead::EMPTY))
}
