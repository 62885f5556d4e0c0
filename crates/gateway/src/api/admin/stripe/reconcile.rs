//! `POST /admin/v1/stripe/reconcile` compares billing states and usage with Stripe and repairs
//! billing states.

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
        Failure::conflict("A reconciliation with Stripe is running; try again when it is done.")
    })?;
    let (gateway, at) = (call.gateway.clone(), call.at);
    // The reconciliation continues if the client disconnects: half of one would be of no use.
    let work = call.gateway.uncancelled(async move {
        let _running = running;
        // If the job is sending reports already, do not send them a second time.
        if let Some(_reporting) = gateway.shared.begin(Job::Reports, at) {
            gateway.report_usage().await;
        }
        gateway.reconcile().await
    });
    let found = work.await?;
    Ok(reply::json::<P>(StatusCode::OK, &found)?)
}
