//! Work that comes round: writing queued audit rows and key uses, upkeep of leases, purging, the
//! audit logs' retention.
//!
//! The host calls [`Gateway::tick`] in a steady rhythm on one core, [`Gateway::prune_audit`] now and
//! then, and [`Gateway::flush`] once before it stops. Nothing here keeps time itself.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;

use crate::audit::Rows;
use crate::gateway::Gateway;
use crate::ports::{Admission, AuditLog, Clock, Directory, Page, Platform, UsageRecords};

/// Expired idempotency records are dropped once in so many ticks.
const PURGED_EVERY_TICKS: u64 = 600;
/// Key uses are written once in so many ticks.
const TOUCHED_EVERY_TICKS: u64 = 10;

/// Stripe's events that wait are taken up once in so many ticks, and at the first.
const BILLED_EVERY_TICKS: u64 = 10;
const DAY_SECS: u64 = 86_400;

impl<P: Platform> Gateway<P> {
    /// One round of what is due.
    pub async fn tick(&self) {
        let round = self.shared.next_round();
        self.write_queued_audit().await;
        note("tending leases", self.admission.tend().await);
        if round.is_multiple_of(TOUCHED_EVERY_TICKS) {
            self.write_touched().await;
        }
        if round % BILLED_EVERY_TICKS == 1 {
            self.process_due_events().await;
        }
        if round.is_multiple_of(PURGED_EVERY_TICKS) {
            note("purging idempotency keys", self.usage.purge_kept(self.clock.now()).await);
        }
    }

    /// Writes everything that is queued: the process stops.
    pub async fn flush(&self) {
        let rows = self.shared.audit.take_all();
        self.write_audit(rows).await;
        self.write_touched().await;
        note("tending leases", self.admission.tend().await);
    }

    /// Writes the audit rows that are due, so that a reader sees what this node knows.
    pub(crate) async fn write_queued_audit(&self) {
        let rows = self.shared.audit.take(self.clock.now());
        self.write_audit(rows).await;
    }

    /// Removes what the audit logs of `limit` organizations after `after` keep no longer; the last
    /// of them, or none when all have been through.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn prune_audit(
        &self,
        after: Option<OrganizationId>,
        limit: usize,
    ) -> Result<Option<OrganizationId>, Fault> {
        let days = u64::from(self.shared.config.audit.retention_days);
        if days == 0 {
            return Ok(None);
        }
        let now = self.clock.now();
        let before = now.minus(Duration::from_secs(days * DAY_SECS));
        let organizations = self.directory.organizations(Page { after, limit }).await?;
        for organization in &organizations {
            let pruned = self.audit.prune(organization.id, before, now).await?;
            if pruned > 0 {
                tracing::info!(organization = %organization.id, pruned, "old audit entries removed");
            }
        }
        let is_full = organizations.len() == limit;
        Ok(organizations.last().filter(|_| is_full).map(|organization| organization.id))
    }

    async fn write_audit(&self, rows: Rows) {
        let dropped = self.shared.audit.take_dropped();
        if dropped > 0 {
            tracing::error!(dropped, "the audit queue overflowed: rows of free requests are lost");
        }
        if rows.is_empty() {
            return;
        }
        if let Err(fault) = self.audit.append(rows.clone()).await {
            tracing::error!(cause = fault.cause, "audit rows could not be written, and wait");
            self.shared.audit.put_back(rows);
        }
    }

    async fn write_touched(&self) {
        let touched = self.shared.touched.take();
        if !touched.is_empty() {
            note("noting key uses", self.directory.touch_keys(&touched).await);
        }
    }
}

fn note<T>(work: &str, outcome: Result<T, Fault>) {
    if let Err(fault) = outcome {
        tracing::error!(cause = fault.cause, "{work} failed, and is tried again");
    }
}
