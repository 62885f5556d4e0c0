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
    let running = running.ok_or_else(|| {
        Failure::conflict("A comparison with Stripe is under way; ask again when it is done.")
    })?;
    let (gateway, at) = (call.gateway.clone(), call.at);
    // It goes on when whoever asked goes away: half a comparison would have to begin anew.
    let work = call.gateway.uncancelled(async move {
        let _running = running;
        // Where the reports are on their way already, they are not told twice.
        if let Some(_reporting) = gateway.shared.begin(Job::Reports, at) {
            gateway.report_usage().await;
        }
        gateway.reconcile().await
    });
    let found = work.await?;
    Ok(reply::json::<P>(StatusCode::OK, &found)?)
}
