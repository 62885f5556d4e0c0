//! Stripe: computes billing states from its events, reports usage to its meters, and reconciles
//! both.
//!
//! Without `ENV_STRIPE_SECRET_KEY` Stripe is never called: billing states follow from the events
//! alone, and usage stays in the outbox.

pub(crate) mod billing;
mod fetch;
mod forget;
pub(crate) mod in_flight;
pub(crate) mod links;
pub(crate) mod meter;
mod meter_errors;
mod moving;
pub(crate) mod preview;
pub(crate) mod reconcile;
pub(crate) mod report;
mod unassigned;

use std::time::Duration;

use driftlock_domain::stripe::api::{self, ApiError, Call};
use driftlock_domain::stripe::idempotency::{Attempts, Series};
use driftlock_domain::stripe::meter::Outcome;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::ports::{Background, Entropy, HttpClient, Platform};

/// The most pages of a list that are read, of 100 rows each.
const PAGES_MAX: usize = 1_000;

impl<P: Platform> Gateway<P> {
    /// Whether a secret key is set, so that Stripe can be called.
    pub(crate) fn has_stripe(&self) -> bool {
        self.shared.stripe.is_some()
    }

    /// Makes a call. If its outcome is unknown or Stripe is overloaded, the call is repeated a few
    /// times with waits; Stripe's answer may forbid a repetition or state the wait.
    pub(crate) async fn stripe(&self, call: &Call) -> Result<Value, ApiError> {
        let mut attempts = Attempts::default();
        loop {
            let (read, replayed) = match self.send_to_stripe(call, attempts.series()).await {
                Ok(answer) => (api::read(&answer), api::is_replayed(&answer)),
                Err(error) => (Err(error), false),
            };
            let error = match read {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match attempts.again(&error, replayed, self.random()) {
                Some(Duration::ZERO) => {}
                Some(wait) => self.background.wait(wait).await,
                None => return Err(error),
            }
        }
    }

    /// A random number that spreads waits.
    fn random(&self) -> u64 {
        let mut random = [0; 8];
        self.entropy.fill(&mut random);
        u64::from_le_bytes(random)
    }

    /// Sends a meter report to Stripe once; the outcome decides what happens to the report.
    pub(crate) async fn send_report(&self, call: &Call) -> Outcome {
        match self.send_to_stripe(call, Series::FIRST).await {
            Ok(answer) => api::outcome(&answer),
            Err(error) => {
                tracing::warn!(%error, path = call.path(), "Stripe did not answer");
                Outcome::unanswered()
            }
        }
    }

    async fn send_to_stripe(
        &self,
        call: &Call,
        series: Series,
    ) -> Result<http::Response<bytes::Bytes>, ApiError> {
        let access = self.shared.stripe.as_ref();
        let access = access
            .ok_or_else(|| ApiError::KeyRefused("no ENV_STRIPE_SECRET_KEY is set".to_owned()))?;
        let request = access.request(call, series)?;
        self.http.call(request).await.map_err(|error| ApiError::Unanswered(error.0))
    }

    /// All rows of a list.
    pub(crate) async fn stripe_list(&self, call: &Call) -> Result<Vec<Value>, ApiError> {
        let (mut rows, mut after) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = call.clone().field("limit", "100").maybe("starting_after", after);
            let (mut more, next) = api::page(self.stripe(&page).await?)?;
            rows.append(&mut more);
            match next {
                Some(next) => after = Some(next),
                None => return Ok(rows),
            }
        }
        Err(ApiError::Unreadable(format!("a list of more than {PAGES_MAX} pages")))
    }
}
