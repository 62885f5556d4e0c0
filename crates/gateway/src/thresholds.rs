//! Alerts for thresholds that are reached by a change of terms: a smaller plan may be used up at
//! the moment it is bought.
//!
//! The next lease under the new terms raises these alerts in its commit. Here they are raised at
//! once, also for an organization that sends no requests. Each alert is stored only once.

use driftlock_domain::alert::reached;
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::{Terms, decide};
use driftlock_domain::organization::Organization;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::Grouping;

use crate::gateway::Gateway;
use crate::ports::{Alerts, Clock, Platform, UsageRecords};

impl<P: Platform> Gateway<P> {
    /// Raises alerts and seals usage after a committed change of an organization. If raising alerts
    /// fails here, the next lease raises them.
    pub(crate) async fn note_change(&self, before: &Organization, after: &Organization) {
        let now = self.clock.now();
        let (old, new) = (self.terms(before, now), self.terms(after, now));
        if let Some(terms) = new.filter(|_| old != new)
            && let Err(fault) = self.raise_reached(after, terms, now).await
        {
            let (organization, error) = (after.id, fault.cause);
            tracing::error!(%organization, error, "could not raise threshold alerts; will retry");
        }
        if old != new
            && let Err(fault) = self.seal_usage(after).await
        {
            let (organization, error) = (after.id, fault.cause);
            tracing::error!(%organization, error, "could not seal usage; will retry");
        }
    }

    fn terms(&self, organization: &Organization, now: Timestamp) -> Option<Terms> {
        let config = &self.shared.config;
        let decision = decide(organization, config, now);
        let plan = config.plan(decision.plan)?;
        Some(decision.entitlement(organization, plan).terms)
    }

    async fn raise_reached(
        &self,
        organization: &Organization,
        terms: Terms,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let usage = self.usage.usage(organization.id, now, terms.period, Grouping::Key).await?;
        let Some(usage) = usage.filter(|usage| usage.period == terms.period) else { return Ok(()) };
        for alert in reached(organization.id, terms, usage.units, now) {
            self.alerts.raise(alert).await?;
        }
        Ok(())
    }
}
