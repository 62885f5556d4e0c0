//! Keys that are revoked, as the object was told by the audit rows of their revocation. It refuses them
//! whatever an isolate still remembers of them (I5), metered or free: both are admitted here.

use std::collections::HashMap;
use std::time::Duration;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::KeyId;
use driftlock_domain::time::Timestamp;
use driftlock_sqlite_core::Sql;

/// For longer than any isolate remembers a key without having read it again (`keys.max_stale_secs` is
/// an hour at most) nothing needs to be kept.
const KEPT: Duration = Duration::from_secs(86_400);

/// From when on each is refused.
#[derive(Debug, Clone, Default)]
pub(super) struct RevokedKeys(HashMap<KeyId, Timestamp>);

impl RevokedKeys {
    /// Those that were noted.
    ///
    /// # Errors
    /// What the database says.
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

/// Notes the key that a record revokes, if it does; whether there was one. The earlier time counts.
///
/// # Errors
/// What the database says.
pub(super) fn note(sql: &impl Sql, record: &AuditRecord, now: Timestamp) -> Result<bool, Fault> {
    let Some((key, grace)) = record.revokes() else { return Ok(false) };
    // Clocks of two machines differ: what has been told is no more in the future.
    let at = record.at.min(now).plus(grace);
    let put = "INSERT INTO revoked_keys (key, at) VALUES (?1, ?2) \
               ON CONFLICT (key) DO UPDATE SET at = min(at, excluded.at)";
    sql.execute(put, &[key.as_bytes().into(), at.micros().into()])?;
    let delete = "DELETE FROM revoked_keys WHERE at < ?1";
    sql.execute(delete, &[now.minus(KEPT).micros().into()])?;
    Ok(true)
}
