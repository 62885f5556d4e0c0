//! Revoked keys, which the object learns from the audit rows of their revocation. The object
//! refuses them even if an isolate still caches them as valid (I5). It admits metered and free
//! requests, so it refuses both.

use std::collections::HashMap;
use std::time::Duration;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::KeyId;
use driftlock_domain::time::Timestamp;
use driftlock_sqlite_core::Sql;

/// How long a revocation is kept: longer than any isolate caches a key without reading it again
/// (`keys.max_stale_secs` is an hour at most).
const KEPT: Duration = Duration::from_secs(86_400);

/// Revoked keys, and from when on each is refused.
#[derive(Debug, Clone, Default)]
pub(super) struct RevokedKeys(HashMap<KeyId, Timestamp>);

impl RevokedKeys {
    /// Reads the stored revocations.
    ///
    /// # Errors
    /// A failure of the database.
    pub(super) fn read(sql: &impl Sql) -> Result<Self, Fault> {
        let rows = sql.query("SELECT key, at FROM revoked_keys", &[], |row| {
            Ok((KeyId::from_bytes(row.bytes(0)?), Timestamp::from_micros(row.int(1)?)))
        })?;
        Ok(Self(rows.into_iter().collect()))
    }

    pub(super) fn is_revoked(&self, key: KeyId, now: Timestamp) -> bool {
        self.0.get(&key).is_some_and(|at| *at <= now)
    }
}

/// Stores the key that an audit record revokes; returns whether the record revokes one. If the key
/// is stored already, the earlier time counts.
///
/// # Errors
/// A failure of the database.
pub(super) fn note(sql: &impl Sql, record: &AuditRecord, now: Timestamp) -> Result<bool, Fault> {
    let Some((key, grace)) = record.revokes() else { return Ok(false) };
    // The clocks of two machines differ: a record that has arrived is not in the future.
    let at = record.at.min(now).plus(grace);
    let put = "INSERT INTO revoked_keys (key, at) VALUES (?1, ?2) \
               ON CONFLICT (key) DO UPDATE SET at = min(at, excluded.at)";
    sql.execute(put, &[key.as_bytes().into(), at.micros().into()])?;
    let delete = "DELETE FROM revoked_keys WHERE at < ?1";
    sql.execute(delete, &[now.minus(KEPT).micros().into()])?;
    Ok(true)
}
