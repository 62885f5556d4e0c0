//! Shipments of a Durable Object's usage and audit entries to its mirror in Supabase, and the
//! removal of mirrored receipts.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::{KeyId, OrganizationId, UsageId};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::shipment::{
    More, RECEIPTS_AFTER, SUMS_AGAIN, ShipCursor, Shipment, ShippedReceipt, ShippedSum,
};
use driftlock_domain::time::Timestamp;

use crate::audit::entries;
use crate::sql::{Row, Sql};

/// The maximum number of sums in a portion, rounded down to whole hours. Only a single hour may
/// have more.
const SUMS_MAX: usize = 1_000;
/// The maximum number of receipts, and of audit entries, in a portion.
const ROWS_MAX: usize = 500;
/// The maximum number of receipts removed at once.
const REMOVED_MAX: u64 = 1_000;
const HOUR: Duration = Duration::from_secs(3_600);
const CURSOR: &str = "ship_cursor";

/// How far the data was mirrored.
///
/// # Errors
/// When the database fails.
pub fn cursor(sql: &impl Sql) -> Result<ShipCursor, Fault> {
    let query = "SELECT CAST(value AS TEXT) FROM meta WHERE name = ?1";
    let read = |row: Row<'_>| row.json(0);
    Ok(sql.first(query, &[CURSOR.into()], read)?.unwrap_or_default())
}

/// Records how far the data was mirrored.
///
/// # Errors
/// When the database fails.
pub fn set_cursor(sql: &impl Sql, cursor: &ShipCursor) -> Result<(), Fault> {
    let text = serde_json::to_string(cursor).map_err(Fault::store)?;
    let put = "INSERT INTO meta (name, value) VALUES (?1, CAST(?2 AS BLOB)) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sql.execute(put, &[CURSOR.into(), text.into()]).map(drop)
}

/// Whether there are audit entries or receipts that are not mirrored yet.
///
/// # Errors
/// When the database fails.
pub fn is_due(sql: &impl Sql) -> Result<bool, Fault> {
    let mirrored = cursor(sql)?;
    let query = "SELECT EXISTS (SELECT 1 FROM audit_logs WHERE seq > ?1) \
                 OR EXISTS (SELECT 1 FROM usage_events WHERE id > ?2)";
    let values = [mirrored.audit.into(), mirrored.usage.as_bytes().into()];
    Ok(sql.first(query, &values, |row| row.int(0))? == Some(1))
}

/// Moves the cursor back, so that this hour, this receipt and all later ones are mirrored again. To
/// be called when they changed.
///
/// # Errors
/// When the database fails.
pub(crate) fn mirror_again(sql: &impl Sql, hour: Timestamp, usage: UsageId) -> Result<(), Fault> {
    let cursor = cursor(sql)?;
    // Sums are mirrored from some hours before the cursor on; receipts from after the cursor.
    let before = u128::from_be_bytes(*usage.as_bytes()).saturating_sub(1);
    let before = UsageId::from_bytes(before.to_be_bytes());
    let again =
        ShipCursor { hour: cursor.hour.min(hour), usage: cursor.usage.min(before), ..cursor };
    if again == cursor { Ok(()) } else { set_cursor(sql, &again) }
}

/// The position of a portion in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// The first portion: it repeats the sums of the last hours.
    First,
    /// A later portion.
    Next,
}

/// The next portion to be mirrored.
///
/// # Errors
/// When the database fails.
pub fn next(
    sql: &impl Sql,
    organization: OrganizationId,
    portion: Portion,
    now: Timestamp,
) -> Result<Shipment, Fault> {
    let mut cursor = cursor(sql)?;
    let from = match portion {
        Portion::First => cursor.hour.minus(SUMS_AGAIN),
        Portion::Next => cursor.hour.plus(HOUR),
    };
    let (sums, more_sums) = sums(sql, organization, from)?;
    let receipts = receipts(sql, cursor.usage, now.minus(RECEIPTS_AFTER))?;
    let audit = entries(sql, organization, cursor.audit, ROWS_MAX)?;
    if let Some(last) = sums.last() {
        cursor.hour = last.hour;
    }
    if let Some(last) = receipts.last() {
        cursor.usage = last.receipt.id;
    }
    if let Some(last) = audit.last() {
        cursor.audit = last.seq;
    }
    let is_cut = more_sums || receipts.len() == ROWS_MAX || audit.len() == ROWS_MAX;
    let younger = "SELECT EXISTS (SELECT 1 FROM usage_events WHERE id > ?1 AND period <> 0)";
    let waits = sql.first(younger, &[cursor.usage.as_bytes().into()], |row| row.int(0))?;
    let more = match (is_cut, waits) {
        (true, _) => More::Now,
        (false, Some(1)) => More::Later,
        (false, _) => More::Nothing,
    };
    Ok(Shipment { sums, receipts, audit, cursor, more })
}

/// Removes receipts of requests that were admitted before an instant, the oldest first, at most
/// 1,000 at once. Returns whether there may be more. Sums stay. If there is a mirror, only
/// mirrored receipts are removed.
///
/// # Errors
/// When the database fails.
pub fn remove_receipts(sql: &impl Sql, before: Timestamp, mirror: Mirror) -> Result<bool, Fault> {
    let bound = match mirror {
        Mirror::Supabase => cursor(sql)?.usage.min(first_at(before)),
        Mirror::None => first_at(before),
    };
    let delete = "DELETE FROM usage_events WHERE id IN \
                  (SELECT id FROM usage_events WHERE id < ?1 ORDER BY id LIMIT ?2)";
    let removed = sql.execute(delete, &[bound.as_bytes().into(), REMOVED_MAX.into()])?;
    // A database may count index writes as well, so the number can exceed the limit.
    Ok(removed >= REMOVED_MAX)
}

/// Whether there are receipts of requests that were admitted before an instant.
///
/// # Errors
/// When the database fails.
pub fn has_receipts(sql: &impl Sql, before: Timestamp) -> Result<bool, Fault> {
    let query = "SELECT EXISTS (SELECT 1 FROM usage_events WHERE id < ?1)";
    let found = sql.first(query, &[first_at(before).as_bytes().into()], |row| row.int(0))?;
    Ok(found == Some(1))
}

/// Where a receipt can be found after its removal here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirror {
    /// In the Supabase project that mirrors the object.
    Supabase,
    /// Nowhere: there is no mirror.
    None,
}

/// The sums of whole hours from an hour on, and whether there are more.
fn sums(
    sql: &impl Sql,
    organization: OrganizationId,
    from: Timestamp,
) -> Result<(Vec<ShippedSum>, bool), Fault> {
    let query = "SELECT p.starts_at, p.ends_at, c.hour, c.key, r.label, c.units, c.requests \
                 FROM billing_periods p \
                 JOIN usage_counters c ON c.organization = p.organization AND c.period = p.id \
                 JOIN routes r ON r.id = c.route \
                 WHERE p.organization = ?1 AND p.ends_at >= ?2 AND c.hour >= ?3 \
                 ORDER BY c.hour, c.period LIMIT ?4";
    let values = [
        organization.as_bytes().into(),
        from.micros().into(),
        from.secs().into(),
        (SUMS_MAX as u64 + 1).into(),
    ];
    let mut sums = sql.query(query, &values, sum)?;
    if sums.len() <= SUMS_MAX {
        return Ok((sums, false));
    }
    let last = sums[SUMS_MAX].hour;
    let whole = sums.iter().take_while(|sum| sum.hour < last).count();
    if whole > 0 {
        sums.truncate(whole);
        return Ok((sums, true));
    }
    // A single hour exceeds the maximum: take all of this hour, and no other.
    let query = query.replace("c.hour >= ?3", "c.hour = ?3").replace(" LIMIT ?4", "");
    let values = [organization.as_bytes().into(), from.micros().into(), last.secs().into()];
    Ok((sql.query(&query, &values, sum)?, true))
}

fn sum(row: Row<'_>) -> Result<ShippedSum, Fault> {
    Ok(ShippedSum {
        period: period(row)?,
        hour: Timestamp::from_secs(row.int(2)?),
        key: KeyId::from_bytes(row.bytes(3)?),
        route: row.text(4)?.into_owned(),
        units: row.number(5)?,
        requests: row.number(6)?,
    })
}

fn receipts(
    sql: &impl Sql,
    after: UsageId,
    before: Timestamp,
) -> Result<Vec<ShippedReceipt>, Fault> {
    let query = "SELECT p.starts_at, p.ends_at, e.id, e.organization, e.key, r.label, e.units, \
                 e.request_id, e.at, e.voided FROM usage_events e \
                 JOIN routes r ON r.id = e.route JOIN billing_periods p ON p.id = e.period \
                 WHERE e.id > ?1 AND e.id < ?2 ORDER BY e.id LIMIT ?3";
    let before = first_at(before);
    let values = [after.as_bytes().into(), before.as_bytes().into(), (ROWS_MAX as u64).into()];
    sql.query(query, &values, |row| {
        Ok(ShippedReceipt {
            period: period(row)?,
            receipt: Receipt {
                id: UsageId::from_bytes(row.bytes(2)?),
                organization_id: OrganizationId::from_bytes(row.bytes(3)?),
                key_id: KeyId::from_bytes(row.bytes(4)?),
                route: row.text(5)?.into_owned(),
                units: row.number(6)?,
                request_id: row.text(7)?.into_owned(),
                at: Timestamp::from_micros(row.int(8)?),
            },
            voided: row.int(9)? != 0,
        })
    })
}

/// The smallest id that can be made at an instant.
fn first_at(at: Timestamp) -> UsageId {
    UsageId::make(at, [0; 10])
}

fn period(row: Row<'_>) -> Result<Period, Fault> {
    let time = |column| row.int(column).map(Timestamp::from_micros);
    Ok(Period { start: time(0)?, end: time(1)? })
}
