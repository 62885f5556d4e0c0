//! Idempotency records: made by the settlement, completed by the answer, dropped after 24 hours.

use std::time::Duration;

use driftlock_domain::id::UsageId;
use driftlock_domain::idempotency::{Claim, IdempotencyKey, KEPT_SECS, KeptAnswer};
use driftlock_domain::time::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::Writer;

/// Expired records dropped in one commit.
const PURGED_MAX: i64 = 10_000;

/// The oldest instant whose record still counts.
pub(crate) fn oldest(now: Timestamp) -> Timestamp {
    now.minus(Duration::from_secs(KEPT_SECS))
}

impl Writer {
    /// Whether another settlement holds the key.
    pub(super) fn held_by_another(
        &self,
        claim: &Claim,
        usage: UsageId,
        now: Timestamp,
    ) -> rusqlite::Result<bool> {
        let query = "SELECT usage FROM idempotency_keys WHERE key = ?1 AND at >= ?2";
        let holder: Option<[u8; 16]> = self
            .connection
            .prepare_cached(query)?
            .query_row(params![claim.key.0, oldest(now).micros()], |row| row.get(0))
            .optional()?;
        Ok(holder.is_some_and(|holder| holder != *usage.as_bytes()))
    }

    /// Stores key, fingerprint and usage id; an expired record of the key makes room.
    pub(super) fn claim(
        &self,
        claim: &Claim,
        usage: UsageId,
        at: Timestamp,
    ) -> rusqlite::Result<()> {
        let insert = "INSERT OR REPLACE INTO idempotency_keys (key, fingerprint, usage, at) \
                      VALUES (?1, ?2, ?3, ?4)";
        let row = params![claim.key.0, claim.fingerprint.0, usage.as_bytes(), at.micros()];
        self.connection.prepare_cached(insert)?.execute(row)?;
        Ok(())
    }

    /// Adds the answer.
    pub(crate) fn keep_answer(
        &self,
        key: &IdempotencyKey,
        answer: &KeptAnswer,
        headers: &str,
    ) -> rusqlite::Result<()> {
        let update = "UPDATE idempotency_keys SET answer_status = ?2, answer_headers = ?3, \
                      answer_body = ?4 WHERE key = ?1";
        let row = params![key.0, answer.status, headers, answer.body];
        self.connection.prepare_cached(update)?.execute(row)?;
        Ok(())
    }

    /// Drops expired records; how many.
    pub(crate) fn purge_kept(&self, now: Timestamp) -> rusqlite::Result<u64> {
        let delete = "DELETE FROM idempotency_keys WHERE key IN \
                      (SELECT key FROM idempotency_keys WHERE at < ?1 LIMIT ?2)";
        let row = params![oldest(now).micros(), PURGED_MAX];
        Ok(self.connection.prepare_cached(delete)?.execute(row)? as u64)
    }
}
