//! Queries of the usage API: the sums of a period, receipts.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::{FrozenTerms, Price};
use driftlock_domain::id::{KeyId, OrganizationId, UsageId};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{BUCKET_SECS, Grouping, UsageBucket, UsageSummary};

use crate::period::SETTLED_WITHIN;
use crate::sql::{Row, Sql, Value};

/// The ids of an hour's settlements were made at most this long after the hour's beginning. It is
/// more than an hour, since an id is ahead of its commit if the clock is set back in between.
const MADE_WITHIN: Duration = Duration::from_secs(2 * 3_600);

/// The usage of the period that contains `at`; `None` if there is none. If several periods contain
/// it, `in_force` is preferred, including the usage that this period will take over.
///
/// # Errors
/// When the database fails.
pub fn summary(
    sql: &impl Sql,
    organization: OrganizationId,
    at: Timestamp,
    in_force: Period,
    grouping: Grouping,
) -> Result<Option<UsageSummary>, Fault> {
    let (period, buckets) = if is_coming(sql, organization, at, in_force)? {
        (in_force, coming(sql, organization, in_force, grouping)?)
    } else {
        let Some((id, period)) = period_at(sql, organization, at, in_force)? else {
            return Ok(None);
        };
        (period, buckets(sql, organization, id, grouping)?)
    };
    let units = buckets.iter().map(|bucket| bucket.units).sum();
    let terms = frozen(sql, organization, period)?;
    Ok(Some(UsageSummary { period, terms, units, buckets }))
}

/// The terms of the last lease in a period.
fn frozen(
    sql: &impl Sql,
    organization: OrganizationId,
    period: Period,
) -> Result<Option<FrozenTerms>, Fault> {
    let query = "SELECT included, base_micros, overage_micros FROM billing_periods \
                 WHERE organization = ?1 AND starts_at = ?2 AND ends_at = ?3 \
                 AND included IS NOT NULL";
    let (start, end) = (period.start.micros(), period.end.micros());
    let values = [organization.as_bytes().into(), start.into(), end.into()];
    sql.first(query, &values, |row| {
        let price = Price { base_micros: row.number(1)?, overage_micros: row.maybe_number(2)? };
        Ok(FrozenTerms { included: row.number(0)?, price })
    })
}

/// A receipt.
///
/// # Errors
/// When the database fails.
pub fn receipt(sql: &impl Sql, usage: UsageId) -> Result<Option<Receipt>, Fault> {
    let query = "SELECT e.id, e.organization, e.key, r.label, e.units, e.request_id, e.at \
                 FROM usage_events e JOIN routes r ON r.id = e.route \
                 WHERE e.id = ?1 AND e.voided = 0";
    sql.first(query, &[usage.as_bytes().into()], |row| {
        Ok(Receipt {
            id: UsageId::from_bytes(row.bytes(0)?),
            organization_id: OrganizationId::from_bytes(row.bytes(1)?),
            key_id: KeyId::from_bytes(row.bytes(2)?),
            route: row.text(3)?.into_owned(),
            units: row.number(4)?,
            request_id: row.text(5)?.into_owned(),
            at: Timestamp::from_micros(row.int(6)?),
        })
    })
}

/// The period that contains an instant. Of several: the current one (`in_force`), else one with
/// requests, else the one that became known last.
fn period_at(
    sql: &impl Sql,
    organization: OrganizationId,
    at: Timestamp,
    in_force: Period,
) -> Result<Option<(i64, Period)>, Fault> {
    let query = "SELECT p.id, p.starts_at, p.ends_at FROM billing_periods p \
                 WHERE p.organization = ?1 AND p.starts_at <= ?2 AND p.ends_at > ?2 \
                 ORDER BY p.starts_at = ?3 AND p.ends_at = ?4 DESC, EXISTS (SELECT 1 \
                 FROM usage_counters c WHERE c.organization = ?1 AND c.period = p.id \
                 AND c.requests > 0) DESC, p.id DESC LIMIT 1";
    let values = [
        organization.as_bytes().into(),
        at.micros().into(),
        in_force.start.micros().into(),
        in_force.end.micros().into(),
    ];
    sql.first(query, &values, |row| {
        let time = |column| row.int(column).map(Timestamp::from_micros);
        Ok((row.int(0)?, Period { start: time(1)?, end: time(2)? }))
    })
}

/// Whether the ledger may not have changed to the current period yet. There is no flag for this; if
/// the ledger has changed already, the takeover finds no rows.
fn is_coming(
    sql: &impl Sql,
    organization: OrganizationId,
    at: Timestamp,
    in_force: Period,
) -> Result<bool, Fault> {
    let query = "SELECT starts_at FROM billing_periods WHERE organization = ?1 \
                 ORDER BY last_settled_at DESC, id DESC LIMIT 1";
    let latest = sql.first(query, &[organization.as_bytes().into()], |row| row.int(0))?;
    Ok(in_force.contains(at) && latest.is_some_and(|start| start <= at.micros()))
}

fn buckets(
    sql: &impl Sql,
    organization: OrganizationId,
    period: i64,
    grouping: Grouping,
) -> Result<Vec<UsageBucket>, Fault> {
    let counted = "SELECT hour, key, route, units, requests FROM usage_counters \
                   WHERE organization = ?1 AND period = ?2";
    sums(sql, counted, &[organization.as_bytes().into(), period.into()], grouping)
}

/// The sums of a period as they will be after the period change: its own usage, and the unsealed
/// usage within its bounds that it takes over from other periods. Whole hours come from the
/// counters. For the hours that contain a boundary, single settlements are read, if the other
/// period has any that late.
fn coming(
    sql: &impl Sql,
    organization: OrganizationId,
    period: Period,
    grouping: Grouping,
) -> Result<Vec<UsageBucket>, Fault> {
    let counted = "WITH own AS (SELECT coalesce((SELECT id FROM billing_periods \
        WHERE organization = ?1 AND starts_at = ?2 AND ends_at = ?3), 0) AS id), \
        late AS MATERIALIZED (SELECT m.period, m.hour, \
            m.hour * 1000000 >= ?2 AND (m.hour + 3600) * 1000000 <= ?3 AS whole \
            FROM meter_outbox m, own JOIN billing_periods p ON p.id = m.period \
            WHERE m.organization = ?1 AND m.period <> own.id AND m.units <> m.sealed_units \
            AND m.sealed_at IS NULL AND m.hour BETWEEN ?4 AND ?5 AND p.last_settled_at >= ?2) \
        SELECT c.hour, c.key, c.route, c.units, c.requests FROM usage_counters c, own \
            WHERE c.organization = ?1 AND c.period = own.id \
        UNION ALL SELECT c.hour, c.key, c.route, c.units, c.requests FROM late m \
            CROSS JOIN usage_counters c \
            WHERE m.whole AND c.organization = ?1 AND c.period = m.period AND c.hour = m.hour \
        UNION ALL SELECT m.hour, e.key, e.route, e.units, 1 FROM late m CROSS JOIN usage_events e \
            WHERE NOT m.whole AND e.id >= CASE m.hour WHEN ?4 THEN ?6 ELSE ?7 END \
            AND e.id < CASE m.hour WHEN ?4 THEN ?8 ELSE ?9 END \
            AND e.organization = ?1 AND e.period = m.period AND e.voided = 0 \
            AND e.at / 3600000000 * 3600 = m.hour AND e.at >= ?2 AND e.at < ?3";
    let last = Timestamp::from_micros(period.end.micros().saturating_sub(1));
    let (first_hour, last_hour) = (period.start.floor_to(BUCKET_SECS), last.floor_to(BUCKET_SECS));
    let first_id = |hour: Timestamp| UsageId::make(hour.minus(SETTLED_WITHIN), [0; 10]);
    let next_id = |hour: Timestamp| UsageId::make(hour.plus(MADE_WITHIN), [0; 10]);
    let (first_ids, last_ids) = (first_id(first_hour), first_id(last_hour));
    let (first_next, last_next) = (next_id(first_hour), next_id(last_hour));
    let values = [
        organization.as_bytes().into(),
        period.start.micros().into(),
        period.end.micros().into(),
        first_hour.secs().into(),
        last_hour.secs().into(),
        first_ids.as_bytes().into(),
        last_ids.as_bytes().into(),
        first_next.as_bytes().into(),
        last_next.as_bytes().into(),
    ];
    sums(sql, counted, &values, grouping)
}

/// Sums up the rows of a query, which are hour, key, route, units and requests.
fn sums(
    sql: &impl Sql,
    counted: &str,
    values: &[Value<'_>],
    grouping: Grouping,
) -> Result<Vec<UsageBucket>, Fault> {
    let group = match grouping {
        Grouping::Hour => "c.hour",
        Grouping::Day => "c.hour / 86400 * 86400",
        Grouping::Key => "c.key",
        Grouping::Route => "r.label",
    };
    let query = format!(
        "SELECT {group}, sum(c.units), sum(c.requests) FROM ({counted}) c \
         JOIN routes r ON r.id = c.route GROUP BY 1 HAVING sum(c.requests) > 0 ORDER BY 1"
    );
    sql.query(&query, values, |row: Row<'_>| {
        let (units, requests) = (row.number(1)?, row.number(2)?);
        let mut bucket = UsageBucket { start: None, key_id: None, route: None, units, requests };
        match grouping {
            Grouping::Hour | Grouping::Day => {
                bucket.start = Some(Timestamp::from_secs(row.int(0)?));
            }
            Grouping::Key => bucket.key_id = Some(KeyId::from_bytes(row.bytes(0)?)),
            Grouping::Route => bucket.route = Some(row.text(0)?.into_owned()),
        }
        Ok(bucket)
    })
}
