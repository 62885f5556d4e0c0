//! Periodic jobs: write queued audit rows and key uses, renew leases, delete expired records, prune
//! audit logs.
//!
//! The host calls [`Gateway::tick`] on one core, each time after the wait that the last call
//! returned. It also calls [`Gateway::purge`] and [`Gateway::maintain_organizations`] from time to
//! time, and [`Gateway::flush`] once before it stops. No job waits for another: a slow job delays
//! only itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::decide;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::organization::Organization;
use serde_json::json;

use crate::audit::Rows;
use crate::gateway::Gateway;
use crate::ports::{
    Admission, Alerts, AuditLog, Background, Clock, Directory, Page, Platform, UsageRecords,
};
use crate::schedule::Job;
use crate::shared::JobFailure;

/// The most audit rows that are written in one call.
const AUDIT_ROWS_MAX: usize = 4_096;
/// The most portions of old audit entries that are removed from an organization in one round: more
/// than a busy organization writes between two rounds.
const PRUNED_PORTIONS_MAX: usize = 32;
const DAY_SECS: u64 = 86_400;
/// How long before the end of the grace time the alert is raised.
const GRACE_NOTICE: Duration = Duration::from_secs(DAY_SECS);

impl<P: Platform> Gateway<P> {
    /// Begins the jobs that are due, in the background. Returns after how long to call again.
    pub fn tick(&self) -> Duration {
        let now = self.clock.now();
        for job in Job::ALL {
            let period = job.period(&self.shared.config);
            if self.shared.schedule.is_due(job, period, now)
                && let Some(running) = self.shared.begin(job, now)
            {
                let gateway = self.clone();
                self.background.spawn(async move {
                    let _running = running;
                    gateway.run(job).await;
                });
            }
        }
        self.shared.schedule.wait(now)
    }

    async fn run(&self, job: Job) {
        match job {
            Job::AuditRows => self.write_queued_audit().await,
            Job::Leases => {
                let tended = self.admission.tend().await;
                if tended.is_err() {
                    self.shared.gauges.lease_failures.fetch_add(1, Ordering::Relaxed);
                }
                self.log_failure(JobFailure::Leases, tended);
            }
            Job::KeyUses => self.write_touched().await,
            Job::Events => self.process_due_events().await,
            Job::Streams => self.check_streams().await,
            Job::Reports if self.has_stripe() => self.report_usage().await,
            Job::Reconciliation if self.has_stripe() => {
                self.reconcile_and_log().await;
            }
            Job::Reports | Job::Reconciliation => {}
        }
    }

    /// Writes queued audit rows and key uses, and nothing else: for a host that cannot call
    /// [`Self::tick`] regularly and schedules the other jobs itself.
    pub async fn write_queued(&self) {
        self.write_queued_audit().await;
        self.write_touched().await;
    }

    /// After how long counted denials are due to be written; `None` when there are none.
    #[must_use]
    pub fn counts_due_in(&self) -> Option<Duration> {
        self.shared.audit.counts_due_in(self.clock.now())
    }

    /// Deletes all expired idempotency records, in portions: settlements can run in between.
    pub async fn purge(&self) {
        while self.clock.status().is_confirmed {
            match self.usage.purge_kept(self.clock.now()).await {
                Ok(0) => return,
                Ok(_) => {}
                failed => return self.log_failure(JobFailure::Purge, failed),
            }
        }
    }

    /// Writes everything that is queued. Call it before the process stops.
    pub async fn flush(&self) {
        let rows = self.shared.audit.take_all();
        self.write_audit(rows).await;
        self.write_touched().await;
        self.log_failure(JobFailure::Leases, self.admission.tend().await);
    }

    /// Writes the audit rows that are due, so that a reader of the audit log sees them. This
    /// continues if the reader disconnects: the rows are no longer in the queue.
    pub(crate) async fn show_queued_audit(&self) {
        let gateway = self.clone();
        self.uncancelled(async move { gateway.write_queued_audit().await }).await;
    }

    async fn write_queued_audit(&self) {
        let rows = self.shared.audit.take(self.clock.now());
        self.write_audit(rows).await;
    }

    /// Processes `limit` organizations after `after`: removes audit entries older than the
    /// retention time, and raises alerts for grace times that end soon. Returns the last
    /// organization, or `None` at the end of the list.
    ///
    /// # Errors
    /// The faults of the stores.
    pub async fn maintain_organizations(
        &self,
        after: Option<OrganizationId>,
        limit: usize,
    ) -> Result<Option<OrganizationId>, Fault> {
        let organizations = self.directory.organizations(Page { after, limit }).await?;
        for organization in &organizations {
            self.prune_audit(organization.id).await?;
            self.note_grace(organization).await?;
        }
        let is_full = organizations.len() == limit;
        Ok(organizations.last().filter(|_| is_full).map(|organization| organization.id))
    }

    async fn prune_audit(&self, organization: OrganizationId) -> Result<(), Fault> {
        let days = u64::from(self.shared.config.audit.retention_days);
        if days == 0 || !self.clock.status().is_confirmed {
            return Ok(());
        }
        let now = self.clock.now();
        let before = now.minus(Duration::from_secs(days * DAY_SECS));
        for _ in 0..PRUNED_PORTIONS_MAX {
            let pruned = self.audit.prune(organization, before, now).await?;
            if pruned == 0 {
                break;
            }
            tracing::info!(%organization, pruned, "old audit entries removed");
        }
        Ok(())
    }

    async fn note_grace(&self, organization: &Organization) -> Result<(), Fault> {
        let now = self.clock.now();
        let decision = decide(organization, &self.shared.config, now);
        let until = decision.shown.and_then(|shown| shown.grace_until);
        let Some(until) = until.filter(|until| now < *until && *until <= now.plus(GRACE_NOTICE))
        else {
            return Ok(());
        };
        self.alerts
            .raise(Alert {
                organization: organization.id,
                kind: AlertKind::GraceEnding,
                subject: until.secs().to_string(),
                at: now,
                details: json!({ "grace_until": until }),
            })
            .await
    }

    async fn write_audit(&self, rows: Rows) {
        let dropped = self.shared.audit.take_dropped();
        if dropped > 0 {
            tracing::error!(dropped, "audit queue full: dropped rows of free requests and denials");
        }
        // In portions: after an outage more rows may wait than a store takes in one call.
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let portion: Rows = rows.by_ref().take(AUDIT_ROWS_MAX).collect();
            let written = self.audit.append(portion.clone()).await;
            if written.is_err() {
                self.shared.audit.put_back(portion.into_iter().chain(rows));
                return self.log_failure(JobFailure::AuditRows, written);
            }
        }
    }

    /// Logs a failure, but not each time while it lasts: some jobs run ten times a second.
    fn log_failure<T>(&self, work: JobFailure, outcome: Result<T, Fault>) {
        if let Err(fault) = outcome
            && self.shared.should_log(work, self.clock.now())
        {
            let work = work.name();
            tracing::error!(error = fault.cause, "{work} failed; will retry");
        }
    }

    async fn write_touched(&self) {
        let touched = self.shared.touched.take();
        if !touched.is_empty() {
            self.log_failure(JobFailure::KeyUses, self.directory.touch_keys(&touched).await);
        }
    }
}
