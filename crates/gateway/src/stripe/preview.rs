//! Stripe's preview of the next invoice: only Stripe knows prorations, tax and credits.

use driftlock_domain::stripe::api::{ApiError, Call};
use serde_json::Value;

use crate::gateway::Gateway;
use crate::ports::Platform;

impl<P: Platform> Gateway<P> {
    /// The preview of a subscription's next invoice, if there is a secret key and Stripe has one.
    /// `scope` must differ each time: usage changes the answer to an otherwise equal call.
    pub(crate) async fn invoice_preview(
        &self,
        customer: &str,
        subscription: &str,
        scope: &str,
    ) -> Result<Option<Value>, ApiError> {
        if !self.has_stripe() {
            return Ok(None);
        }
        let call = Call::post("/v1/invoices/create_preview")
            .scoped(scope)
            .field("customer", customer)
            .field("subscription", subscription);
        match self.stripe(&call).await {
            Ok(preview) => Ok(Some(preview)),
            Err(ApiError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
