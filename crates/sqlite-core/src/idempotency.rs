//! Idempotency records. A settlement stores the record together with the answer; it expires after
//! 24 hours. A record without an answer means that the answer was not stored.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::UsageId;
use driftlock_domain::idempotency::{
    Claim, Fingerprint, IdempotencyKey, KEPT_SECS, Kept, KeptAnswer,
};
use driftlock_domain::time::Timestamp;

use crate::rows::json;
use crate::settle::purge_refused;
use crate::sql::{Row, Sql, Value};

/// The maximum number of expired records deleted in one commit. Settlements wait for this commit,
/// and an answer has up to 64 pages.
pub const PURGED_MAX: u64 = 256;
/// The number of answers read in one query when answers must be dropped.
const DROPPED_AT_ONCE: i64 = 256;

/// The record of a key, unless it has expired.
///
/// # Errors
/// When the database fails.
pub fn kept(sql: &impl Sql, key: &IdempotencyKey, now: Timestamp) -> Result<Option<Kept>, Fault> {
    let query = "SELECT fingerprint, usage, answer_status, answer_headers, answer_body \
                 FROM idempotency_keys WHERE key = ?1 AND at >= ?2";
    sql.first(query, &[(&key.0).into(), oldest(now).micros().into()], record)
}

/// The total size of the stored answers, in bytes.
///
/// # Errors
/// When the database fails.
pub fn kept_bytes(sql: &impl Sql) -> Result<u64, Fault> {
    let query = "SELECT coalesce(sum(length(answer_body)), 0) FROM idempotency_keys";
    Ok(sql.first(query, &[], |row| row.number(0))?.unwrap_or(0))
}

/// Drops the oldest answers until the rest has at most `bytes_max` bytes. Returns the remaining
/// bytes. The records stay: a repeated key is answered as if its answer had been too large to
/// store.
///
/// # Errors
/// When the database fails.
pub fn drop_answers(sql: &impl Sql, bytes_max: u64) -> Result<u64, Fault> {
    let query = "SELECT key, length(answer_body) FROM idempotency_keys \
                 WHERE answer_body IS NOT NULL ORDER BY at LIMIT ?1";
    let mut left = kept_bytes(sql)?;
    while left > bytes_max {
        let oldest: Vec<([u8; 32], u64)> =
            sql.query(query, &[DROPPED_AT_ONCE.into()], |row| Ok((row.bytes(0)?, row.number(1)?)))?;
        if oldest.is_empty() {
            break;
        }
        for (key, bytes) in oldest {
            if left <= bytes_max {
                break;
            }
            let drop = "UPDATE idempotency_keys SET answer_status = NULL, answer_headers = NULL, \
                        answer_body = NULL WHERE key = ?1";
            sql.execute(drop, &[(&key).into()])?;
            left = left.saturating_sub(bytes);
        }
    }
    Ok(left)
}

/// Deletes a portion of the expired records; returns how many. Also deletes the ids of settlements
/// that were voided before they arrived, once they are as old.
///
/// # Errors
/// When the database fails.
pub fn purge_kept(sql: &impl Sql, now: Timestamp) -> Result<u64, Fault> {
    let delete = "DELETE FROM idempotency_keys WHERE key IN \
                  (SELECT key FROM idempotency_keys WHERE at < ?1 LIMIT ?2)";
    purge_refused(sql, oldest(now))?;
    sql.execute(delete, &[oldest(now).micros().into(), PURGED_MAX.into()])
}

/// Whether another settlement has used the key.
pub(crate) fn held_by_another(
    sql: &impl Sql,
    claim: &Claim,
    usage: UsageId,
    now: Timestamp,
) -> Result<bool, Fault> {
    let query = "SELECT usage FROM idempotency_keys WHERE key = ?1 AND at >= ?2";
    let values = [(&claim.key.0).into(), oldest(now).micros().into()];
    let holder = sql.first(query, &values, |row| row.bytes::<16>(0))?;
    Ok(holder.is_some_and(|holder| holder != *usage.as_bytes()))
}

/// Stores key, fingerprint, usage id and answer. Replaces an expired record of the key.
pub(crate) fn store(
    sql: &impl Sql,
    claim: &Claim,
    usage: UsageId,
    answer: Option<&KeptAnswer>,
    at: Timestamp,
) -> Result<(), Fault> {
    let insert = "INSERT INTO idempotency_keys \
                  (key, fingerprint, usage, at, answer_status, answer_headers, answer_body) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (key) DO UPDATE SET \
                  fingerprint = excluded.fingerprint, usage = excluded.usage, at = excluded.at, \
                  answer_status = excluded.answer_status, \
                  answer_headers = excluded.answer_headers, answer_body = excluded.answer_body";
    let headers = answer.map(|answer| json(&answer.headers)).transpose()?;
    let [status, headers, body] = match (answer, &headers) {
        (Some(answer), Some(headers)) => columns(answer, headers),
        (_, _) => [Value::Null, Value::Null, Value::Null],
    };
    let (key, fingerprint) = ((&claim.key.0).into(), (&claim.fingerprint.0).into());
    let values =
        [key, fingerprint, usage.as_bytes().into(), at.micros().into(), status, headers, body];
    sql.execute(insert, &values).map(drop)
}

/// Status, headers and body.
fn columns<'a>(answer: &'a KeptAnswer, headers: &'a str) -> [Value<'a>; 3] {
    [u32::from(answer.status).into(), headers.into(), answer.body.as_slice().into()]
}

fn record(row: Row<'_>) -> Result<Kept, Fault> {
    let status = row.maybe_number(2)?;
    let answer = match (status, row.maybe_text(3)?, row.maybe_blob(4)?) {
        (Some(status), Some(_), Some(body)) => {
            Some(KeptAnswer { status, headers: row.json(3)?, body: body.into_owned() })
        }
        (_, _, _) => None,
    };
    let fingerprint = Fingerprint(row.bytes(0)?);
    Ok(Kept { fingerprint, usage: UsageId::from_bytes(row.bytes(1)?), answer })
}

/// Records from this instant on still count; older ones have expired.
fn oldest(now: Timestamp) -> Timestamp {
    now.minus(Duration::from_secs(KEPT_SECS))
}
