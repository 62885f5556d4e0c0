//! Thresholds that a change of terms reaches: a smaller plan may be used up the moment it is bought.
//!
//! Whoever leases units under new terms tells of them, in that commit. Here they are told at once, also
//! of an organization that sends no request; once each, whoever comes first.

use driftlock_domain::alert::reached;
use driftlock_domain::denial::Fault;
use driftlock_domain::entitlement::{Terms, decide};
use driftlock_domain::organization::Organization;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::Grouping;

use crate::gateway::Gateway;
use crate::ports::{Alerts, Clock, Platform, UsageRecords};

impl<P: Platform> Gateway<P> {
    /// The organization was changed, and that is committed: what fails here is told with its next lease.
    pub(crate) async fn note_change(&self, before: &Organization, after: &Organization) {
        let now = self.clock.now();
        let (old, new) = (self.terms(before, now), self.terms(after, now));
        if let Some(terms) = new.filter(|_| old != new)
            && let Err(fault) = self.tell_reached(after, terms, now).await
        {
            let (organization, cause) = (after.id, fault.cause);
            tracing::error!(%organization, cause, "thresholds of new terms are told later");
        }
        if old != new
            && let Err(fault) = self.seal_usage(after).await
        {
            let (organization, cause) = (after.id, fault.cause);
            tracing::error!(%organization, cause, "reported usage is corrected later");
        }
    }

    fn terms(&self, organization: &Organization, now: Timestamp) -> Option<Terms> {
        let config = &self.shared.config;
        let decision = decide(organization, config, now);
        let plan = config.plan(decision.plan)?;
        Some(decision.entitlement(organization, plan).terms)
    }

    async fn tell_reached(
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
