//! The ports of what leaves: usage reports to Stripe, and alerts.

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{Next, PeriodSums, Report, ReportState, SealRule};
use driftlock_domain::time::Timestamp;

use super::Page;

/// Usage on its way to Stripe: the outbox that settlements fill, sealed into reports.
pub trait UsageReports {
    /// Organizations that are customers at Stripe and have something to be sealed or sent.
    async fn reporting(
        &self,
        now: Timestamp,
        page: Page<OrganizationId>,
    ) -> Result<Vec<OrganizationId>, Fault>;
    /// Seals an organization's buckets that have done growing; how many. What is settled into one
    /// of them later becomes a report of its own.
    async fn seal(
        &self,
        organization: OrganizationId,
        rule: SealRule,
        now: Timestamp,
    ) -> Result<u64, Fault>;
    /// The report that is due longest; nobody else is handed it for a while. If it is to be sent,
    /// the attempt is committed already.
    async fn take_report(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<Report>, Fault>;
    /// What became of a report that was taken.
    async fn answer_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        next: Next,
        now: Timestamp,
    ) -> Result<(), Fault>;
    /// An organization's reports whose time lies in a window.
    async fn reports(
        &self,
        organization: OrganizationId,
        window: Period,
    ) -> Result<Vec<Report>, Fault>;
    /// A page of all organizations' reports in one state, or in any, in order of identifier.
    async fn reports_in(
        &self,
        state: Option<ReportState>,
        page: Page<String>,
    ) -> Result<ReportPage, Fault>;
    /// One report.
    async fn report(
        &self,
        organization: OrganizationId,
        identifier: &str,
    ) -> Result<Option<Report>, Fault>;
    /// Makes a dead report due at `now`, together with its audit row; whether it was one. What was
    /// tried stays noted, so that one that Stripe may have is compared before it is sent again.
    async fn revive_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        audit: AuditRecord,
        now: Timestamp,
    ) -> Result<bool, Fault>;
    /// Sums of the periods that something was settled in, the newest first; at most `limit`.
    async fn report_sums(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<PeriodSums>, Fault>;
}

/// Some reports, and where the next ones begin.
#[derive(Debug, Default)]
pub struct ReportPage {
    /// In order of identifier; a store that has to look in many places may find fewer than asked for.
    pub rows: Vec<Report>,
    /// The cursor of the next page, if there may be one.
    pub next: Option<String>,
}

impl ReportPage {
    /// Of `limit + 1` rows the last only says that there are more.
    #[must_use]
    pub fn cut(mut rows: Vec<Report>, limit: usize) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|report| report.sealed.identifier.clone());
        Self { rows, next }
    }
}

/// What people are to be told. Thresholds of usage are entered by [`super::Ledger::settle`].
pub trait Alerts {
    /// Enters an alert, unless there is one of its kind and subject.
    async fn raise(&self, alert: Alert) -> Result<(), Fault>;
    /// An organization's alerts, the newest first; at most `limit`.
    async fn alerts(&self, organization: OrganizationId, limit: usize)
    -> Result<Vec<Alert>, Fault>;
}
