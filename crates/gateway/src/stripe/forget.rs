//! Deletes old Stripe events that no longer affect the billing state, even if Stripe delivers one
//! of them again. `driftlock_domain::stripe::expendable` decides which.

use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::stripe::expendable::expendable;
use driftlock_domain::stripe::file::Forgetting;
use driftlock_domain::time::Timestamp;

use super::billing::read;
use crate::gateway::Gateway;
use crate::ports::{Clock, EventInbox, Platform};

const DAY: Duration = Duration::from_secs(86_400);
/// Events without a customer that are deleted in one commit.
const PORTION: usize = 1_000;
/// Such portions in one run of the job.
const PORTIONS_MAX: usize = 32;

impl<P: Platform> Gateway<P> {
    /// Deletes old events of at most `customers` customers, and old events without a customer.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn forget_old_events(&self, customers: usize) -> Result<(), Fault> {
        let days = self.shared.config.stripe.events_retention_days;
        if days == 0 || !self.clock.status().is_confirmed {
            return Ok(());
        }
        let before = self.clock.now().minus(DAY * days);
        for _ in 0..PORTIONS_MAX {
            let forgotten = self.inbox.forget_others(before, PORTION).await?;
            if forgotten < PORTION as u64 {
                break;
            }
        }
        for customer in self.inbox.aged(before, customers).await? {
            self.forget_events_of(&customer, before).await?;
        }
        Ok(())
    }

    async fn forget_events_of(&self, customer: &str, before: Timestamp) -> Result<(), Fault> {
        let file = self.inbox.customer(customer).await?;
        let stripe = &self.shared.config.stripe;
        let (events, _) = read(&file.events, stripe.livemode);
        let gone = expendable(&events, &stripe.prices, before);
        let forgetting = Forgetting {
            customer: customer.to_owned(),
            events: gone.into_iter().map(str::to_owned).collect(),
            before,
            at: self.clock.now(),
        };
        let forgotten = self.inbox.forget(forgetting).await?;
        if forgotten > 0 {
            tracing::info!(customer, forgotten, "old Stripe events deleted");
        }
        Ok(())
    }
}
