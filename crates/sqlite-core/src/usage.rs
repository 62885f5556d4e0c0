//! What the usage API shows: sums of a period, receipts.

use driftlock_domain::denial::Fault;
use driftlock_domain::id::{KeyId, OrganizationId, UsageId};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, UsageBucket, UsageSummary};

use crate::sql::{Row, Sql};

/// The usage of the period that holds `at`: of several `in_force`; `None` when there is none.
///
/// # Errors
/// What the database says.
pub fn summary(
    sql: &impl Sql,
    organization: OrganizationId,
    at: Timestamp,
    in_force: Period,
    grouping: Grouping,
) -> Result<Option<UsageSummary>, Fault> {
    let Some((id, period)) = period_at(sql, organization, at, in_force)? else { return Ok(None) };
    let buckets = buckets(sql, organization, id, grouping)?;
    let units = buckets.iter().map(|bucket| bucket.units).sum();
    Ok(Some(UsageSummary { period, units, buckets }))
}

/// A receipt.
///
/// # Errors
/// What the database says.
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

/// The period that holds an instant; of several the one in force, else one in which something counts,
/// the one learned last.
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

fn buckets(
    sql: &impl Sql,
    organization: OrganizationId,
    period: i64,
    grouping: Grouping,
) -> Result<Vec<UsageBucket>, Fault> {
    let group = match grouping {
        Grouping::Hour => "c.hour",
        Grouping::Day => "c.hour / 86400 * 86400",
        Grouping::Key => "c.key",
        Grouping::Route => "r.label",
    };
    let query = format!(
        "SELECT {group}, sum(c.units), sum(c.requests) FROM usage_counters c \
         JOIN routes r ON r.id = c.route WHERE c.organization = ?1 AND c.period = ?2 \
         GROUP BY 1 HAVING sum(c.requests) > 0 ORDER BY 1"
    );
    let values = [organization.as_bytes().into(), period.into()];
    sql.query(&query, &values, |row: Row<'_>| {
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
