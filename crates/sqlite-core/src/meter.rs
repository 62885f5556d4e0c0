//! Meter reports: buckets of usage are sealed into reports, and reports are sent to Stripe and
//! confirmed.
//!
//! A report's identifier, value and time never change. An attempt is recorded before it is made, so
//! that after a crash the report is known to have an unknown outcome.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{
    Attempts, Bucket, CORRECTION_HOUR, Next, PeriodSums, Report, ReportState, ReportTotals,
    Reported, SealRule, Sealed, is_due,
};
use driftlock_domain::time::Timestamp;

use crate::sql::{Row, Sql, Value};

/// Organizations with a subscription at Stripe and something to be sealed or sent.
pub const REPORTING: &str = "SELECT o.id FROM organizations o \
     WHERE o.stripe_customer_id IS NOT NULL \
     AND (o.purchases IS NOT NULL OR o.contract IS NOT NULL) AND o.id > ?1 AND (EXISTS (\
     SELECT 1 FROM meter_outbox m JOIN billing_periods p ON p.id = m.period \
     WHERE m.organization = o.id AND m.units <> m.sealed_units \
     AND min((m.hour + 3600) * 1000000, p.ends_at) <= ?2) OR EXISTS (\
     SELECT 1 FROM meter_reports r WHERE r.organization = o.id \
     AND r.state IN ('pending', 'reconcile') AND r.due_at <= ?2)) ORDER BY o.id LIMIT ?3";

/// A report that was taken is due again after this time if no outcome was recorded.
const TAKEN_FOR: Duration = Duration::from_secs(120);
/// The time between an unclear comparison with Stripe and the next: Stripe sums up with a delay.
const COMPARED_EVERY: Duration = Duration::from_secs(3_600);

const OPEN: &str = "SELECT m.period, m.hour, m.units, m.sealed_units, m.parts, p.starts_at, \
     p.ends_at, (SELECT min(n.starts_at) FROM billing_periods n \
     WHERE n.organization = m.organization AND n.id > p.id AND n.starts_at > p.starts_at \
     AND n.starts_at < p.ends_at) \
     FROM meter_outbox m JOIN billing_periods p ON p.id = m.period \
     WHERE m.organization = ?1 AND m.units <> m.sealed_units AND m.hour < ?2 \
     ORDER BY m.hour, m.period LIMIT 1000";
const REPORT: &str = "SELECT organization, identifier, value, timestamp, units, state, attempts, \
     first_at, error, done_at FROM meter_reports";

struct Open {
    period_id: i64,
    hour: i64,
    units: u64,
    sealed: u64,
    parts: u32,
    period: Period,
}

/// Seals the due buckets of an organization, and writes a correction if one is needed. Returns the
/// number of new reports.
///
/// # Errors
/// When the database fails.
pub fn seal(
    sql: &impl Sql,
    organization: OrganizationId,
    rule: SealRule,
    now: Timestamp,
) -> Result<u64, Fault> {
    let values = [organization.as_bytes().into(), now.secs().into()];
    let open = sql.query(OPEN, &values, open)?;
    let due = |open: &Open| is_due(Timestamp::from_secs(open.hour), open.period, now);
    let mut sealed = 0;
    for open in open.into_iter().filter(due) {
        let bucket = Bucket {
            organization,
            period: open.period,
            hour: Timestamp::from_secs(open.hour),
            part: open.parts,
            units: open.units.saturating_sub(open.sealed),
        };
        let before = sealed_before(sql, organization, open.period_id)?;
        let report = Report::of(&bucket, rule, before, now);
        enter(sql, &report, (open.period_id, open.hour), now)?;
        close(sql, organization, &open, now)?;
        sealed += 1;
    }
    Ok(sealed + correct(sql, organization, rule, now)?)
}

/// Writes a correction of the current period's reports, if one is needed. Returns the number of new
/// reports.
fn correct(
    sql: &impl Sql,
    organization: OrganizationId,
    rule: SealRule,
    now: Timestamp,
) -> Result<u64, Fault> {
    let Some(Period { start, end }) = rule.corrected(now) else { return Ok(0) };
    let query = "SELECT p.id, coalesce(sum(r.units), 0), \
                 coalesce(sum(CASE r.state WHEN 'dead' THEN 0 ELSE r.value END), 0), \
                 coalesce(sum(r.hour = ?4), 0) \
                 FROM billing_periods p LEFT JOIN meter_reports r \
                 ON r.organization = p.organization AND r.period = p.id \
                 WHERE p.organization = ?1 AND p.starts_at = ?2 AND p.ends_at = ?3 GROUP BY p.id";
    let (start, end) = (start.micros().into(), end.micros().into());
    let values = [organization.as_bytes().into(), start, end, CORRECTION_HOUR.into()];
    let totals = sql.first(query, &values, |row| {
        let totals =
            ReportTotals { units: row.number(1)?, value: row.int(2)?, corrections: row.number(3)? };
        Ok((row.int(0)?, totals))
    })?;
    let Some((period, totals)) = totals else { return Ok(0) };
    let Some(report) = Report::correction(organization, rule, totals, now) else { return Ok(0) };
    enter(sql, &report, (period, CORRECTION_HOUR), now)?;
    Ok(1)
}

fn open(row: Row<'_>) -> Result<Open, Fault> {
    let end = row.int(6)?.min(row.maybe_int(7)?.unwrap_or(i64::MAX));
    Ok(Open {
        period_id: row.int(0)?,
        hour: row.int(1)?,
        units: row.number(2)?,
        sealed: row.number(3)?,
        parts: row.number(4)?,
        period: Period {
            start: Timestamp::from_micros(row.int(5)?),
            end: Timestamp::from_micros(end),
        },
    })
}

fn sealed_before(
    sql: &impl Sql,
    organization: OrganizationId,
    period: i64,
) -> Result<Reported, Fault> {
    let query = "SELECT coalesce(sum(units), 0), coalesce(sum(value), 0) FROM meter_reports \
                 WHERE organization = ?1 AND period = ?2";
    let values = [organization.as_bytes().into(), period.into()];
    let sums = sql
        .first(query, &values, |row| Ok(Reported { units: row.number(0)?, value: row.int(1)? }))?;
    Ok(sums.unwrap_or_default())
}

fn enter(
    sql: &impl Sql,
    report: &Report,
    (period, hour): (i64, i64),
    now: Timestamp,
) -> Result<(), Fault> {
    let insert = "INSERT INTO meter_reports (identifier, organization, period, hour, units, value, \
                  timestamp, sealed_at, state, due_at, error) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?8, ?10)";
    let values = [
        (&*report.sealed.identifier).into(),
        report.organization.as_bytes().into(),
        period.into(),
        hour.into(),
        report.units.into(),
        report.sealed.value.into(),
        report.sealed.timestamp.secs().into(),
        now.micros().into(),
        report.state.as_str().into(),
        report.error.as_deref().into(),
    ];
    sql.execute(insert, &values).map(drop)
}

/// Records that a bucket is sealed with the units that were read.
fn close(
    sql: &impl Sql,
    organization: OrganizationId,
    open: &Open,
    now: Timestamp,
) -> Result<(), Fault> {
    let update = "UPDATE meter_outbox SET sealed_units = ?4, parts = parts + 1, sealed_at = ?5 \
                  WHERE organization = ?1 AND period = ?2 AND hour = ?3";
    let values = [
        organization.as_bytes().into(),
        open.period_id.into(),
        open.hour.into(),
        open.units.into(),
        now.micros().into(),
    ];
    sql.execute(update, &values).map(drop)
}

/// Takes the report that is due longest, unless another one of the organization is taken: reports
/// of an organization are sent one at a time. Records an attempt if the report must be sent.
///
/// # Errors
/// When the database fails.
pub fn take(
    sql: &impl Sql,
    organization: OrganizationId,
    now: Timestamp,
) -> Result<Option<Report>, Fault> {
    let query = format!(
        "{REPORT} WHERE organization = ?1 AND state IN ('pending', 'reconcile') AND due_at <= ?2 \
         AND NOT EXISTS (SELECT 1 FROM meter_reports t WHERE t.organization = ?1 \
         AND t.state IN ('pending', 'reconcile') AND t.due_at > ?2 AND t.taken_until > ?2) \
         ORDER BY due_at, identifier LIMIT 1"
    );
    let values = [organization.as_bytes().into(), now.micros().into()];
    let Some(mut found) = sql.first(&query, &values, report)? else { return Ok(None) };
    if found.state == ReportState::Pending {
        found = found.attempted(now);
    }
    let update = "UPDATE meter_reports SET state = ?2, attempts = ?3, first_at = ?4, \
                  due_at = ?5, taken_until = ?5 WHERE identifier = ?1";
    let values = [
        (&*found.sealed.identifier).into(),
        found.state.as_str().into(),
        found.attempts.count.into(),
        found.attempts.first_at.map(Timestamp::micros).into(),
        now.plus(TAKEN_FOR).micros().into(),
    ];
    sql.execute(update, &values)?;
    Ok(Some(found))
}

/// Records the outcome of an attempt to send a report.
///
/// # Errors
/// When the database fails.
pub fn answered(
    sql: &impl Sql,
    identifier: &str,
    next: &Next,
    now: Timestamp,
) -> Result<(), Fault> {
    let (state, due, error): (ReportState, Timestamp, Value<'_>) = match next {
        Next::Done => (ReportState::Done, now, Value::Null),
        Next::RetryAt(at) => (ReportState::Pending, *at, Value::Null),
        Next::Reconcile => (ReportState::Reconcile, now, Value::Null),
        Next::Unclear { message } => {
            (ReportState::Reconcile, now.plus(COMPARED_EVERY), (&**message).into())
        }
        Next::Resend => (ReportState::Pending, now, Value::Null),
        Next::DeadLetter { message, .. } => (ReportState::Dead, now, (&**message).into()),
    };
    let update = "UPDATE meter_reports SET state = ?2, due_at = ?3, error = ?4, taken_until = 0, \
                  done_at = CASE ?2 WHEN 'done' THEN ?5 END, \
                  attempts = CASE ?6 WHEN 1 THEN 0 ELSE attempts END, \
                  first_at = CASE ?6 WHEN 1 THEN NULL ELSE first_at END \
                  WHERE identifier = ?1 AND state IN ('pending', 'reconcile')";
    let values = [
        identifier.into(),
        state.as_str().into(),
        due.micros().into(),
        error,
        now.micros().into(),
        i64::from(*next == Next::Resend).into(),
    ];
    sql.execute(update, &values).map(drop)
}

/// Reports whose time lies in a window, in order of identifier.
///
/// # Errors
/// When the database fails.
pub fn reports(
    sql: &impl Sql,
    organization: OrganizationId,
    window: Period,
) -> Result<Vec<Report>, Fault> {
    let query = format!(
        "{REPORT} WHERE organization = ?1 AND timestamp >= ?2 AND timestamp < ?3 ORDER BY identifier"
    );
    let values =
        [organization.as_bytes().into(), window.start.secs().into(), window.end.secs().into()];
    sql.query(&query, &values, report)
}

/// Reports of any organization with an identifier above `after`, in order of identifier.
///
/// # Errors
/// When the database fails.
pub fn reports_in(
    sql: &impl Sql,
    state: Option<ReportState>,
    after: &str,
    limit: usize,
) -> Result<Vec<Report>, Fault> {
    // The state is a literal, not a parameter, so that SQLite uses the index of dead reports.
    let wanted =
        state.map_or_else(String::new, |state| format!("AND state = '{}' ", state.as_str()));
    let query = format!("{REPORT} WHERE identifier > ?1 {wanted}ORDER BY identifier LIMIT ?2");
    sql.query(&query, &[after.into(), (limit as u64).into()], report)
}

/// One report.
///
/// # Errors
/// When the database fails.
pub fn one(
    sql: &impl Sql,
    organization: OrganizationId,
    identifier: &str,
) -> Result<Option<Report>, Fault> {
    let query = format!("{REPORT} WHERE identifier = ?1 AND organization = ?2");
    sql.first(&query, &[identifier.into(), organization.as_bytes().into()], report)
}

/// Makes a dead report due again; returns whether the report was dead.
///
/// # Errors
/// When the database fails.
pub fn revive(
    sql: &impl Sql,
    organization: OrganizationId,
    identifier: &str,
    now: Timestamp,
) -> Result<bool, Fault> {
    let update = "UPDATE meter_reports SET state = 'pending', due_at = ?3, error = NULL \
                  WHERE identifier = ?1 AND organization = ?2 AND state = 'dead'";
    let values = [identifier.into(), organization.as_bytes().into(), now.micros().into()];
    sql.execute(update, &values).map(|rows| rows > 0)
}

fn report(row: Row<'_>) -> Result<Report, Fault> {
    let state = row.text(5)?.parse().map_err(|error| Fault::store(format!("{error}")))?;
    Ok(Report {
        organization: OrganizationId::from_bytes(row.bytes(0)?),
        sealed: Sealed {
            identifier: row.text(1)?.into_owned(),
            value: row.int(2)?,
            timestamp: Timestamp::from_secs(row.int(3)?),
        },
        units: row.number(4)?,
        state,
        attempts: Attempts {
            count: row.number(6)?,
            first_at: row.maybe_int(7)?.map(Timestamp::from_micros),
        },
        error: row.maybe_text(8)?.map(Into::into),
        done_at: row.maybe_int(9)?.map(Timestamp::from_micros),
    })
}

/// The sums of an organization's periods that have usage, the newest first.
///
/// # Errors
/// When the database fails.
pub fn sums(
    sql: &impl Sql,
    organization: OrganizationId,
    limit: usize,
) -> Result<Vec<PeriodSums>, Fault> {
    let query = "SELECT p.starts_at, p.ends_at, \
         (SELECT coalesce(sum(units), 0) FROM usage_counters c \
          WHERE c.organization = p.organization AND c.period = p.id), \
         (SELECT coalesce(sum(sealed_units), 0) FROM meter_outbox m \
          WHERE m.organization = p.organization AND m.period = p.id), \
         (SELECT coalesce(sum(units - sealed_units), 0) FROM meter_outbox m \
          WHERE m.organization = p.organization AND m.period = p.id), \
         coalesce(sum(CASE r.state WHEN 'done' THEN r.value END), 0), \
         coalesce(sum(CASE WHEN r.state IN ('pending', 'reconcile') THEN r.value END), 0), \
         coalesce(sum(CASE r.state WHEN 'dead' THEN r.value END), 0) \
         FROM billing_periods p LEFT JOIN meter_reports r \
         ON r.organization = p.organization AND r.period = p.id \
         WHERE p.organization = ?1 AND EXISTS (SELECT 1 FROM meter_outbox m \
          WHERE m.organization = p.organization AND m.period = p.id) \
         GROUP BY p.id ORDER BY p.starts_at DESC, p.id DESC LIMIT ?2";
    sql.query(query, &[organization.as_bytes().into(), (limit as u64).into()], |row| {
        let time = |column| row.int(column).map(Timestamp::from_micros);
        Ok(PeriodSums {
            period: Period { start: time(0)?, end: time(1)? },
            settled: row.number(2)?,
            sealed: row.number(3)?,
            open: row.number(4)?,
            acknowledged: row.int(5)?,
            outstanding: row.int(6)?,
            dead: row.int(7)?,
        })
    })
}
