//! Work that comes round: writing queued audit rows and key uses, upkeep of leases, purging, the
//! audit logs' retention.
//!
//! The host calls [`Gateway::tick`] when it said so the last time, on one core, [`Gateway::purge`]
//! and [`Gateway::look_after`] now and then beside it, and [`Gateway::flush`] once before it stops.
//! Nothing here keeps time itself, and no job waits for another: a slow one delays only itself.

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

/// Audit rows that are written at once.
const AUDIT_ROWS_MAX: usize = 4_096;
/// Portions of an organization's old audit entries that are removed when its turn comes, so that
/// more go than a busy one writes between two turns.
const PRUNED_PORTIONS_MAX: usize = 32;
const DAY_SECS: u64 = 86_400;
/// How long before the grace time is over people are told.
const GRACE_NOTICE: Duration = Duration::from_secs(DAY_SECS);

impl<P: Platform> Gateway<P> {
    /// Begins what is due, in the background; after how long to call again.
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

    /// Writes what requests left in queues, and nothing else: for a host without a steady rhythm, which
    /// does the rest by its own clock.
    pub async fn write_queued(&self) {
        self.write_queued_audit().await;
        self.write_touched().await;
    }

    /// After how long denials that were counted are due to be written; `None` when there are none.
    #[must_use]
    pub fn counts_due_in(&self) -> Option<Duration> {
        self.shared.audit.counts_due_in(self.clock.now())
    }

    /// Drops what is kept of idempotency keys that expired, until there is no more: portion by
    /// portion, so that settlements go on in between.
    pub async fn purge(&self) {
        while self.clock.status().is_confirmed {
            match self.usage.purge_kept(self.clock.now()).await {
                Ok(0) => return,
                Ok(_) => {}
                failed => return self.log_failure(JobFailure::Purge, failed),
            }
        }
    }

    /// Writes everything that is queued: the process stops.
    pub async fn flush(&self) {
        let rows = self.shared.audit.take_all();
        self.write_audit(rows).await;
        self.write_touched().await;
        self.log_failure(JobFailure::Leases, self.admission.tend().await);
    }

    /// Writes the audit rows that are due, so that a reader sees what this node knows; also when
    /// the reader leaves meanwhile, since they have left the queue.
    pub(crate) async fn show_queued_audit(&self) {
        let gateway = self.clone();
        self.uncancelled(async move { gateway.write_queued_audit().await }).await;
    }

    async fn write_queued_audit(&self) {
        let rows = self.shared.audit.take(self.clock.now());
        self.write_audit(rows).await;
    }

    /// Looks after `limit` organizations after `after`: removes what their audit logs keep no
    /// longer, and notes whose grace time is about to end; the last of them, or none when all have
    /// been through.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn look_after(
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
            tracing::error!(dropped, "the audit queue overflowed: rows of free requests are lost");
        }
        // In portions: after an outage more may wait than a store takes at once.
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

    /// Tells of a failure, but not of each while it lasts: rounds come ten times a second.
    fn log_failure<T>(&self, work: JobFailure, outcome: Result<T, Fault>) {
        if let Err(fault) = outcome
            && self.shared.should_log(work, self.clock.now())
        {
            let work = work.name();
            tracing::error!(cause = fault.cause, "{work} failed, and is tried again");
        }
    }

    async fn write_touched(&self) {
        let touched = self.shared.touched.take();
        if !touched.is_empty() {
            self.log_failure(JobFailure::KeyUses, self.directory.touch_keys(&touched).await);
        }
    }
}
