//! Meter reports and alerts. `domain` decides the content of a bucket's report from what was read.
//! If the bucket has changed since, sealing fails and is repeated.

use std::collections::HashMap;

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{
    Attempts, Bucket, Next, PeriodSums, Report, ReportState, ReportTotals, Reported, SealRule,
    Sealed, is_due,
};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Alerts, Page, ReportPage, UsageReports};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{FIRST_UUID, int, micros, read, record, uuid};
use crate::{Call, FunctionStore};

/// The maximum number of tries of sealing if a bucket changes meanwhile.
const ROUNDS_MAX: usize = 8;
/// The time between an unclear comparison with Stripe and the next: Stripe sums up with a delay.
const COMPARED_EVERY: std::time::Duration = std::time::Duration::from_secs(3_600);

#[derive(Deserialize)]
struct Open {
    period_id: i64,
    hour: i64,
    units: u64,
    sealed_units: u64,
    parts: u32,
    starts_at: i64,
    ends_at: i64,
    before_units: u64,
    before_value: i64,
}

/// The sums of the reports of a period.
#[derive(Deserialize)]
struct TotalsRow {
    period_id: i64,
    units: u64,
    value: i64,
    corrections: u32,
}

#[derive(Deserialize)]
struct Row {
    organization: OrganizationId,
    identifier: String,
    value: i64,
    timestamp: i64,
    units: u64,
    state: ReportState,
    attempts: u32,
    first_at: Option<i64>,
    done_at: Option<i64>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct SumsRow {
    starts_at: i64,
    ends_at: i64,
    settled: u64,
    sealed: u64,
    open: u64,
    acknowledged: i64,
    outstanding: i64,
    dead: i64,
}

#[derive(Deserialize)]
struct AlertRow {
    organization: OrganizationId,
    kind: AlertKind,
    subject: String,
    at: i64,
    details: Value,
}

impl<C: Call> UsageReports for FunctionStore<C> {
    async fn reporting(
        &self,
        now: Timestamp,
        page: Page<OrganizationId>,
    ) -> Result<Vec<OrganizationId>, Fault> {
        let after = page.after.map_or(FIRST_UUID.to_owned(), |id| uuid!(id));
        let args = json!({ "now": now.micros(), "after": after, "limit": page.limit });
        read(self.call.call("driftlock_reporting", args).await?)
    }

    async fn seal(
        &self,
        organization: OrganizationId,
        rule: SealRule,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        for _ in 0..ROUNDS_MAX {
            let args = json!({ "organization": uuid!(organization), "now": now.micros() });
            let open: Vec<Open> = read(self.call.call("driftlock_open_buckets", args).await?)?;
            let reports = sealed(organization, open, rule, now);
            let count = reports.len() as u64;
            if count == 0 {
                return self.correct(organization, rule, now).await;
            }
            let args = json!({
                "organization": uuid!(organization), "now": now.micros(), "reports": reports,
            });
            if self.call.call("driftlock_seal", args).await?.is_null() {
                return Ok(count + self.correct(organization, rule, now).await?);
            }
        }
        Err(Fault::store(format!("the buckets of {organization} do not come to rest")))
    }

    async fn take_report(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<Report>, Fault> {
        let args = json!({ "organization": uuid!(organization), "now": now.micros() });
        let found: Option<Row> = read(self.call.call("driftlock_take_report", args).await?)?;
        let Some(found) = found.map(report) else { return Ok(None) };
        if found.state != ReportState::Pending {
            return Ok(Some(found));
        }
        let before = found.attempts.count;
        let attempted = found.attempted(now);
        let args = json!({
            "identifier": attempted.sealed.identifier, "state": attempted.state,
            "attempts": attempted.attempts.count, "attempts_before": before,
            "first_at": micros(attempted.attempts.first_at),
        });
        let entered: bool = read(self.call.call("driftlock_attempt_report", args).await?)?;
        Ok(entered.then_some(attempted))
    }

    async fn answer_report(
        &self,
        _organization: OrganizationId,
        identifier: &str,
        next: Next,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let fresh = next == Next::Resend;
        let (state, due, error) = match next {
            Next::Done => (ReportState::Done, now, None),
            Next::RetryAt(at) => (ReportState::Pending, at, None),
            Next::Reconcile => (ReportState::Reconcile, now, None),
            Next::Unclear { message } => {
                (ReportState::Reconcile, now.plus(COMPARED_EVERY), Some(message))
            }
            Next::Resend => (ReportState::Pending, now, None),
            Next::DeadLetter { message, .. } => (ReportState::Dead, now, Some(message)),
        };
        let args = json!({
            "identifier": identifier, "state": state, "due": due.micros(), "error": error,
            "now": now.micros(), "fresh": fresh,
        });
        self.call.call("driftlock_answer_report", args).await.map(drop)
    }

    async fn reports(
        &self,
        organization: OrganizationId,
        window: Period,
    ) -> Result<Vec<Report>, Fault> {
        let args = json!({
            "organization": uuid!(organization), "start": window.start.secs(),
            "end": window.end.secs(),
        });
        let rows: Vec<Row> = read(self.call.call("driftlock_reports", args).await?)?;
        Ok(rows.into_iter().map(report).collect())
    }

    async fn reports_in(
        &self,
        state: Option<ReportState>,
        page: Page<String>,
    ) -> Result<ReportPage, Fault> {
        let after = page.after.unwrap_or_default();
        let args = json!({ "state": state, "after": after, "limit": page.limit + 1 });
        let rows: Vec<Row> = read(self.call.call("driftlock_reports_in", args).await?)?;
        Ok(ReportPage::cut(rows.into_iter().map(report).collect(), page.limit))
    }

    async fn report(
        &self,
        organization: OrganizationId,
        identifier: &str,
    ) -> Result<Option<Report>, Fault> {
        let args = json!({ "organization": uuid!(organization), "identifier": identifier });
        let found: Option<Row> = read(self.call.call("driftlock_report", args).await?)?;
        Ok(found.map(report))
    }

    async fn revive_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        audit: AuditRecord,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let args = json!({
            "organization": uuid!(organization), "identifier": identifier, "now": now.micros(),
            "audit": [record(&audit)],
        });
        read(self.call.call("driftlock_revive_report", args).await?)
    }

    async fn report_sums(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<PeriodSums>, Fault> {
        let args = json!({ "organization": uuid!(organization), "limit": limit });
        let rows: Vec<SumsRow> = read(self.call.call("driftlock_report_sums", args).await?)?;
        Ok(rows.into_iter().map(sums).collect())
    }
}

impl<C: Call> FunctionStore<C> {
    /// Writes a correction of the current period's reports, if one is needed; returns the number of
    /// new reports. If the sums changed since they were read, the next run corrects them.
    async fn correct(
        &self,
        organization: OrganizationId,
        rule: SealRule,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        let Some(period) = rule.corrected(now) else { return Ok(0) };
        let args = json!({
            "organization": uuid!(organization), "start": period.start.micros(),
            "end": period.end.micros(),
        });
        let totals: Option<TotalsRow> = read(self.call.call("driftlock_reported", args).await?)?;
        let Some(row) = totals else { return Ok(0) };
        let TotalsRow { period_id, units, value, corrections } = row;
        let totals = ReportTotals { units, value, corrections };
        let Some(report) = Report::correction(organization, rule, totals, now) else {
            return Ok(0);
        };
        let args = json!({
            "organization": uuid!(organization), "period_id": period_id, "now": now.micros(),
            "units": int(units), "value": value, "corrections": corrections,
            "identifier": report.sealed.identifier, "correction": report.sealed.value,
            "timestamp": report.sealed.timestamp.secs(),
        });
        let entered: bool = read(self.call.call("driftlock_correct", args).await?)?;
        Ok(u64::from(entered))
    }
}

impl<C: Call> Alerts for FunctionStore<C> {
    async fn raise(&self, one: Alert) -> Result<(), Fault> {
        self.call.call("driftlock_raise", json!({ "alerts": [alert(&one)] })).await.map(drop)
    }

    async fn alerts(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<Alert>, Fault> {
        let args = json!({ "organization": uuid!(organization), "limit": limit });
        let rows: Vec<AlertRow> = read(self.call.call("driftlock_alerts", args).await?)?;
        let alert = |AlertRow { organization, kind, subject, at, details }| Alert {
            organization,
            kind,
            subject,
            at: Timestamp::from_micros(at),
            details,
        };
        Ok(rows.into_iter().map(alert).collect())
    }
}

/// The reports of the buckets that are due.
fn sealed(
    organization: OrganizationId,
    open: Vec<Open>,
    rule: SealRule,
    now: Timestamp,
) -> Vec<Value> {
    let mut before: HashMap<i64, Reported> = HashMap::new();
    let mut reports = Vec::new();
    for open in open {
        let (start, end) =
            (Timestamp::from_micros(open.starts_at), Timestamp::from_micros(open.ends_at));
        let (hour, period) = (Timestamp::from_secs(open.hour), Period { start, end });
        if !is_due(hour, period, now) {
            continue;
        }
        let units = open.units.saturating_sub(open.sealed_units);
        let bucket = Bucket { organization, period, hour, part: open.parts, units };
        let sum = before
            .entry(open.period_id)
            .or_insert(Reported { units: open.before_units, value: open.before_value });
        let report = Report::of(&bucket, rule, *sum, now);
        reports.push(json!({
            "identifier": report.sealed.identifier, "period_id": open.period_id,
            "hour": open.hour, "bucket_units": int(open.units), "parts": open.parts,
            "units": int(report.units), "value": report.sealed.value,
            "timestamp": report.sealed.timestamp.secs(), "state": report.state,
            "error": report.error, "before_units": int(sum.units),
        }));
        sum.units += report.units;
        sum.value += report.sealed.value;
    }
    reports
}

pub(crate) fn alert(alert: &Alert) -> Value {
    json!({
        "organization": uuid!(alert.organization), "kind": alert.kind, "subject": alert.subject,
        "at": alert.at.micros(), "details": alert.details,
    })
}

fn report(row: Row) -> Report {
    let first_at = row.first_at.map(Timestamp::from_micros);
    Report {
        organization: row.organization,
        sealed: Sealed {
            identifier: row.identifier,
            value: row.value,
            timestamp: Timestamp::from_secs(row.timestamp),
        },
        units: row.units,
        state: row.state,
        attempts: Attempts { count: row.attempts, first_at },
        done_at: row.done_at.map(Timestamp::from_micros),
        error: row.error,
    }
}

fn sums(row: SumsRow) -> PeriodSums {
    let (start, end) = (Timestamp::from_micros(row.starts_at), Timestamp::from_micros(row.ends_at));
    PeriodSums {
        period: Period { start, end },
        settled: row.settled,
        sealed: row.sealed,
        open: row.open,
        acknowledged: row.acknowledged,
        outstanding: row.outstanding,
        dead: row.dead,
    }
}
