//! Meter reports and alerts.

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{Next, PeriodSums, Report, ReportState, SealRule};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Alerts, Page, ReportPage, UsageReports};
use driftlock_sqlite_core::{Sql, alerts, meter};

use crate::store::SqliteStore;

impl UsageReports for SqliteStore {
    async fn reporting(
        &self,
        now: Timestamp,
        page: Page<OrganizationId>,
    ) -> Result<Vec<OrganizationId>, Fault> {
        self.readers()
            .read(move |sql| {
                let after = page.after.map(|id| *id.as_bytes()).unwrap_or_default();
                let values = [(&after).into(), now.micros().into(), (page.limit as u64).into()];
                sql.query(meter::REPORTING, &values, |row| {
                    row.bytes(0).map(OrganizationId::from_bytes)
                })
            })
            .await
    }

    async fn seal(
        &self,
        organization: OrganizationId,
        rule: SealRule,
        now: Timestamp,
    ) -> Result<u64, Fault> {
        self.writer()
            .write(move |cache, sql| {
                // The buckets must include the settlements of the current group.
                cache.before_commit(sql)?;
                meter::seal(sql, organization, rule, now)
            })
            .await
    }

    async fn take_report(
        &self,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<Report>, Fault> {
        self.writer().write(move |_, sql| meter::take(sql, organization, now)).await
    }

    async fn answer_report(
        &self,
        _organization: OrganizationId,
        identifier: &str,
        next: Next,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let identifier = identifier.to_owned();
        self.writer().write(move |_, sql| meter::answered(sql, &identifier, &next, now)).await
    }

    async fn reports(
        &self,
        organization: OrganizationId,
        window: Period,
    ) -> Result<Vec<Report>, Fault> {
        self.readers().read(move |sql| meter::reports(sql, organization, window)).await
    }

    async fn reports_in(
        &self,
        state: Option<ReportState>,
        page: Page<String>,
    ) -> Result<ReportPage, Fault> {
        let Page { after, limit } = page;
        let after = after.unwrap_or_default();
        let rows = self
            .readers()
            .read(move |sql| meter::reports_in(sql, state, &after, limit + 1))
            .await?;
        Ok(ReportPage::cut(rows, limit))
    }

    async fn report(
        &self,
        organization: OrganizationId,
        identifier: &str,
    ) -> Result<Option<Report>, Fault> {
        let identifier = identifier.to_owned();
        self.readers().read(move |sql| meter::one(sql, organization, &identifier)).await
    }

    async fn revive_report(
        &self,
        organization: OrganizationId,
        identifier: &str,
        audit: AuditRecord,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let identifier = identifier.to_owned();
        self.writer()
            .write(move |cache, sql| {
                let revived = meter::revive(sql, organization, &identifier, now)?;
                if revived {
                    cache.append(sql, organization, audit)?;
                }
                Ok(revived)
            })
            .await
    }

    async fn report_sums(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<PeriodSums>, Fault> {
        self.readers().read(move |sql| meter::sums(sql, organization, limit)).await
    }
}

impl Alerts for SqliteStore {
    async fn raise(&self, alert: Alert) -> Result<(), Fault> {
        self.writer().write(move |_, sql| alerts::raise_all(sql, [alert])).await
    }

    async fn alerts(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<Alert>, Fault> {
        self.readers()
            .read(move |sql| {
                let values = [organization.as_bytes().into(), (limit as u64).into()];
                sql.query(alerts::ALERTS, &values, alerts::alert)
            })
            .await
    }
}
