//! Meter reports and alerts. Reports are in the organizations' objects. Threshold alerts are stored
//! in the objects, billing alerts in the directory, each in the transaction that caused them.

use std::collections::HashSet;

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{
    Next, PeriodSums, Report, ReportState, SealRule, identifiers_end, organization_of,
};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Alerts, Page, ReportPage, UsageReports};

use crate::directory::EdgeDirectory;
use crate::objects::Objects;
use crate::wire::Ask;

/// Objects that are read for one page of reports, at one subrequest each.
const OBJECTS_MAX: usize = 20;

/// The objects, and the directory that lists the organizations with a Stripe customer.
pub(crate) struct EdgeReports {
    pub(crate) objects: Objects,
    pub(crate) directory: EdgeDirectory,
}

impl UsageReports for EdgeReports {
    /// Returns every customer, because only its object knows whether a report is due.
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
        self.objects.ask(organization, &Ask::Seal(rule)).await
    }

    async fn take_report(
        &self,
        organization: OrganizationId,
        _now: Timestamp,
    ) -> Result<Option<Report>, Fault> {
        self.objects.ask(organization, &Ask::TakeReport).await
    }

    async fn answer_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        next: Next,
        _now: Timestamp,
    ) -> Result<(), Fault> {
        self.objects.ask(organization, &Ask::AnswerReport(identifier.to_owned(), next)).await
    }

    async fn reports(
        &self,
        organization: OrganizationId,
        window: Period,
    ) -> Result<Vec<Report>, Fault> {
        self.objects.ask(organization, &Ask::Reports(window)).await
    }

    /// Identifiers begin with the organization's id, so the cursor identifies the object.
    async fn reports_in(
        &self,
        state: Option<ReportState>,
        page: Page<String>,
    ) -> Result<ReportPage, Fault> {
        let Page { after, limit } = page;
        let after = after.unwrap_or_default();
        let first = organization_of(&after);
        let looked = Page { after: first, limit: OBJECTS_MAX };
        let others = self.directory.customers(looked).await?;
        let all_looked_into = others.len() < OBJECTS_MAX;
        let mut last = first;
        let mut rows: Vec<Report> = Vec::new();
        for organization in first.into_iter().chain(others) {
            let ask = Ask::ReportsIn(state, after.clone(), limit + 1 - rows.len());
            let found: Vec<Report> = self.objects.ask(organization, &ask).await?;
            rows.extend(found);
            if rows.len() > limit {
                return Ok(ReportPage::cut(rows, limit));
            }
            last = Some(organization);
        }
        let next = last.filter(|_| !all_looked_into).map(identifiers_end);
        Ok(ReportPage { rows, next })
    }

    async fn report(
        &self,
        organization: OrganizationId,
        identifier: &str,
    ) -> Result<Option<Report>, Fault> {
        self.objects.ask(organization, &Ask::Report(identifier.to_owned())).await
    }

    async fn revive_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        audit: AuditRecord,
        _now: Timestamp,
    ) -> Result<bool, Fault> {
        let ask = Ask::ReviveReport(identifier.to_owned(), Box::new(audit));
        self.objects.ask(organization, &ask).await
    }

    async fn report_sums(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<PeriodSums>, Fault> {
        self.objects.ask(organization, &Ask::ReportSums(limit)).await
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
        let of_object: Vec<Alert> = self.objects.ask(organization, &Ask::Alerts(limit)).await?;
        all.extend(of_object);
        // A threshold reached by a change of plan may be stored in both; the earlier alert counts.
        all.sort_by_key(|alert| alert.at);
        let mut known = HashSet::new();
        all.retain(|alert| known.insert((alert.kind, alert.subject.clone())));
        all.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.kind.as_str().cmp(b.kind.as_str())));
        all.truncate(limit);
        Ok(all)
    }
}
