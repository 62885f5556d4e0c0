//! Reads a customer's present state from Stripe, which does not depend on the order of events.

use driftlock_domain::stripe::api::{ApiError, Call};
use driftlock_domain::stripe::apply::Fetched;

use crate::gateway::Gateway;
use crate::ports::{Clock, Platform};

impl<P: Platform> Gateway<P> {
    /// A customer's subscriptions and invoices; `None` without a secret key. A customer that Stripe
    /// no longer knows has none, so that only its events count.
    pub(crate) async fn fetch_customer(&self, customer: &str) -> Result<Option<Fetched>, ApiError> {
        if !self.has_stripe() {
            return Ok(None);
        }
        let as_of = self.clock.now();
        let subscriptions = Call::get("/v1/subscriptions").field("status", "all");
        let subscriptions = self.rows_of(subscriptions, customer).await?;
        let invoices = self.rows_of(Call::get("/v1/invoices"), customer).await?;
        Ok(Some(Fetched { subscriptions, invoices, as_of }))
    }

    pub(super) async fn rows_of(
        &self,
        call: Call,
        customer: &str,
    ) -> Result<Vec<serde_json::Value>, ApiError> {
        match self.stripe_list(&call.field("customer", customer)).await {
            Err(ApiError::Missing(_)) => Ok(Vec::new()),
            other => other,
        }
    }
}
