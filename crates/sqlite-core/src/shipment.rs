//! What there is to tell the book of record, and what may go once it was told.

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

/// Sums of a portion, beyond which no further hour begins.
const SUMS_MAX: usize = 1_000;
/// Receipts, and audit entries, of a portion.
const ROWS_MAX: usize = 500;
/// Receipts removed at once.
const REMOVED_MAX: u64 = 1_000;
const HOUR: Duration = Duration::from_secs(3_600);
const CURSOR: &str = "ship_cursor";

/// How far the book of record was told.
///
/// # Errors
/// What the database says.
pub fn cursor(sql: &impl Sql) -> Result<ShipCursor, Fault> {
    let query = "SELECT CAST(value AS TEXT) FROM meta WHERE name = ?1";
    let read = |row: Row<'_>| row.json(0);
    Ok(sql.first(query, &[CURSOR.into()], read)?.unwrap_or_default())
}

/// Notes that it was told so far.
///
/// # Errors
/// What the database says.
pub fn set_cursor(sql: &impl Sql, cursor: &ShipCursor) -> Result<(), Fault> {
    let text = serde_json::to_string(cursor).map_err(Fault::store)?;
    let put = "INSERT INTO meta (name, value) VALUES (?1, CAST(?2 AS BLOB)) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sql.execute(put, &[CURSOR.into(), text.into()]).map(drop)
}

/// Whether there is anything to be told.
///
/// # Errors
/// What the database says.
pub fn is_due(sql: &impl Sql) -> Result<bool, Fault> {
    let told = cursor(sql)?;
    let query = "SELECT EXISTS (SELECT 1 FROM audit_logs WHERE seq > ?1) \
                 OR EXISTS (SELECT 1 FROM usage_events WHERE id > ?2)";
    let values = [told.audit.into(), told.usage.as_bytes().into()];
    Ok(sql.first(query, &values, |row| row.int(0))? == Some(1))
}

/// What was told of this hour and this receipt, and all later ones, is told again: they changed.
///
/// # Errors
/// What the database says.
pub(crate) fn tell_again(sql: &impl Sql, hour: Timestamp, usage: UsageId) -> Result<(), Fault> {
    let told = cursor(sql)?;
    // Sums are told from some hours before the cursor on; receipts from after it.
    let before = u128::from_be_bytes(*usage.as_bytes()).saturating_sub(1);
    let before = UsageId::from_bytes(before.to_be_bytes());
    let again = ShipCursor { hour: told.hour.min(hour), usage: told.usage.min(before), ..told };
    if again == told { Ok(()) } else { set_cursor(sql, &again) }
}

/// Which portion of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// The first: sums of the last hours are told again.
    First,
    /// Another one.
    Next,
}

/// The next portion.
///
/// # Errors
/// What the database says.
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

/// Removes receipts of requests that were admitted before an instant, the oldest first and so many at
/// most; whether there may be more. Their sums stay. With a mirror, only mirrored ones are removed.
///
/// # Errors
/// What the database says.
pub fn remove_receipts(sql: &impl Sql, before: Timestamp, mirror: Mirror) -> Result<bool, Fault> {
    let bound = match mirror {
        Mirror::Supabase => cursor(sql)?.usage.min(first_at(before)),
        Mirror::None => first_at(before),
    };
    let delete = "DELETE FROM usage_events WHERE id IN \
                  (SELECT id FROM usage_events WHERE id < ?1 ORDER BY id LIMIT ?2)";
    let removed = sql.execute(delete, &[bound.as_bytes().into(), REMOVED_MAX.into()])?;
    // A database may count what it wrote to indexes along.
    Ok(removed >= REMOVED_MAX)
}

/// Whether there are receipts of requests that were admitted before an instant.
///
/// # Errors
/// What the database says.
pub fn has_receipts(sql: &impl Sql, before: Timestamp) -> Result<bool, Fault> {
    let query = "SELECT EXISTS (SELECT 1 FROM usage_events WHERE id < ?1)";
    let found = sql.first(query, &[first_at(before).as_bytes().into()], |row| row.int(0))?;
    Ok(found == Some(1))
}

/// Where a receipt still is once it is removed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirror {
    /// In the Supabase project that mirrors the object.
    Supabase,
    /// Nowhere.
    None,
}

/// Sums of whole hours from an hour on; whether there are more.
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
    // One hour of very many keys: all of it, and nothing else.
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

/// The least number that is given at an instant.
fn first_at(at: Timestamp) -> UsageId {
    UsageId::make(at, [0; 10])
}

fn period(row: Row<'_>) -> Result<Period, Fault> {
    let time = |column| row.int(column).map(Timestamp::from_micros);
    Ok(Period { start: time(0)?, end: time(1)? })
}
