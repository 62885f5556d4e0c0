//! What leaves: usage reports of the organizations' objects, and alerts, which both the objects
//! (thresholds) and the directory (billing) keep with the commits that they follow from.

use driftlock_domain::alert::Alert;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{Next, PeriodSums, Report, SealRule};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Alerts, Page, UsageReports};

use crate::directory::EdgeDirectory;
use crate::objects::Objects;
use crate::wire::Ask;

/// The objects, and the directory that tells which of them are customers'.
pub(crate) struct EdgeReports {
    pub(crate) objects: Objects,
    pub(crate) directory: EdgeDirectory,
}

impl UsageReports for EdgeReports {
    /// Every customer: only its object knows what is due.
    async fn reporting(
        &self,
        _now: Timestamp,
        page: Page<OrganizationId>,
    ) -> Result<Vec<OrganizationId>, Fault> {
        self.directory.customers(page).await
    }

    async fn seal(
        &self,
        organization: OrganizationId,
        rule: SealRule,
        _now: Timestamp,
    ) -> Result<u64, Fault> {
        self.objects.told(organization, &Ask::Seal(rule)).await
    }

    async fn take_report(
        &self,
        organization: OrganizationId,
        _now: Timestamp,
    ) -> Result<Option<Report>, Fault> {
        self.objects.told(organization, &Ask::TakeReport).await
    }

    async fn answer_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        next: Next,
        _now: Timestamp,
    ) -> Result<(), Fault> {
        self.objects.told(organization, &Ask::AnswerReport(identifier.to_owned(), next)).await
    }

    async fn reports(
        &self,
        organization: OrganizationId,
        window: Period,
    ) -> Result<Vec<Report>, Fault> {
        self.objects.told(organization, &Ask::Reports(window)).await
    }

    async fn report_sums(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<PeriodSums>, Fault> {
        self.objects.told(organization, &Ask::ReportSums(limit)).await
    }
}

impl Alerts for EdgeReports {
    async fn raise(&self, alert: Alert) -> Result<(), Fault> {
        self.directory.raise(&alert).await
    }

    async fn alerts(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<Alert>, Fault> {
        let mut all = self.directory.alerts(organization, limit).await?;
        let of_object: Vec<Alert> = self.objects.told(organization, &Ask::Alerts(limit)).await?;
        all.extend(of_object);
        all.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.kind.as_str().cmp(b.kind.as_str())));
        all.truncate(limit);
        Ok(all)
    }
}
