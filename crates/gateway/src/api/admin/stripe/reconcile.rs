//! `POST /admin/v1/stripe/reconcile`: compares everything with Stripe, and repairs what can be.

use http::StatusCode;

use super::super::call::{AdminCall, Failure, Reply};
use super::failure::stripe_needed;
use crate::ports::Platform;
use crate::reply;
use crate::schedule::Job;

pub(in super::super) async fn reconcile<P: Platform>(call: AdminCall<'_, P>) -> Reply<P> {
    stripe_needed(&call)?;
    let running = call.gateway.shared.begin(Job::Reconciliation, call.at);
    let _running = running.ok_or_else(|| {
        Failure::conflict("A comparison with Stripe is under way; ask again when it is done.")
    })?;
    call.gateway.report_usage().await;
    let found = call.gateway.reconcile().await?;
    Ok(reply::json::<P>(StatusCode::OK, &found)?)
}
