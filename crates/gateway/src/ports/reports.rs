//! The ports for usage reports to Stripe and for alerts.

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{Next, PeriodSums, Report, ReportState, SealRule};
use driftlock_domain::time::Timestamp;

use super::Page;

/// The outbox of usage for Stripe: settlements fill buckets, and buckets are sealed into reports.
pub trait UsageReports {
    /// Organizations that have a customer at Stripe and usage to be sealed or sent.
    async fn reporting(
        &self,
        now: Timestamp,
        page: Page<OrganizationId>,
    ) -> Result<Vec<OrganizationId>, Fault>;
    /// Seals an organization's buckets that are complete by `rule`. Returns how many were sealed.
    /// Usage that is settled into a sealed bucket later becomes a separate report.
    async fn seal(
        &self,
        organization: OrganizationId,
        rule: SealRule,
        now: Timestamp,
    ) -> Result<u64, Fault>;
    /// Takes the report that has been due longest; other callers do not get it for a while. If the
    /// report is to be sent, the attempt is already committed.
    async fn take_report(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<Report>, Fault>;
    /// Records the outcome of a report that was taken.
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
    /// A page of all organizations' reports, in one state or in all, in order of identifier.
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
    /// Makes a dead report due at `now`, in one commit with the audit row. Returns whether the
    /// report was dead. Its attempts stay recorded, so that a report that Stripe may have is
    /// compared with Stripe before it is sent again.
    async fn revive_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        audit: AuditRecord,
        now: Timestamp,
    ) -> Result<bool, Fault>;
    /// Sums of the periods that have settlements, newest first; at most `limit`.
    async fn report_sums(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<PeriodSums>, Fault>;
}

/// A page of reports and the cursor of the next page.
#[derive(Debug, Default)]
pub struct ReportPage {
    /// In order of identifier. A store that has to read from many places may return fewer than the
    /// limit.
    pub rows: Vec<Report>,
    /// The cursor of the next page, if there may be one.
    pub next: Option<String>,
}

impl ReportPage {
    /// Makes a page from at most `limit + 1` rows: the additional row only shows that there are
    /// more.
    #[must_use]
    pub fn cut(mut rows: Vec<Report>, limit: usize) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|report| report.sealed.identifier.clone());
        Self { rows, next }
    }
}

/// Alerts for people. [`super::Ledger::settle`] raises those for usage thresholds.
pub trait Alerts {
    /// Stores an alert, unless there is one of the same kind and subject.
    async fn raise(&self, alert: Alert) -> Result<(), Fault>;
    /// An organization's alerts, newest first; at most `limit`.
    async fn alerts(&self, organization: OrganizationId, limit: usize)
    -> Result<Vec<Alert>, Fault>;
}
