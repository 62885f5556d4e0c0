//! Answers of the admin API when a call to Stripe is not possible or failed.

use std::time::Duration;

use driftlock_domain::problem::Problem;
use driftlock_domain::stripe::api::ApiError;
use http::StatusCode;

use super::super::call::{AdminCall, Failure};
use crate::ports::Platform;
use crate::stripe::reconcile::Failed;

const WAIT: Duration = Duration::from_secs(10);

/// Refuses an admin call that needs Stripe if no secret key is set.
pub(super) fn stripe_needed<P: Platform>(call: &AdminCall<'_, P>) -> Result<(), Failure> {
    if call.gateway.has_stripe() {
        return Ok(());
    }
    Err(Failure::conflict("No ENV_STRIPE_SECRET_KEY is set: the gateway cannot call Stripe."))
}

/// Checks a URL that Stripe sends a browser to.
pub(super) fn browser_url(name: &str, text: &str) -> Result<(), Failure> {
    let uri = text.parse::<http::Uri>();
    let is_web = uri.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    if is_web && text.len() <= 2_000 {
        return Ok(());
    }
    Err(Failure::invalid(format!("`{name}`: not a URL such as `https://app.example.com/`.")))
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let title = "Request to Stripe failed";
        let detail = format!("{error}.");
        let problem = |status| Problem::new(status, "stripe-failed", title, detail.clone());
        Self::Problem(match error {
            ApiError::Unanswered(_) | ApiError::Transient { .. } => {
                problem(StatusCode::SERVICE_UNAVAILABLE).after(WAIT)
            }
            _ => problem(StatusCode::BAD_GATEWAY),
        })
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Api(error) => error.into(),
            Failed::Fault(fault) => fault.into(),
        }
    }
}
