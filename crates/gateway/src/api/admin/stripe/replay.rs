//! `POST /admin/v1/stripe/events/{id}/replay` processes an event again, at once.

use driftlock_domain::stripe::delivery::DeliveryState;
use driftlock_domain::stripe::event::is_of_other_mode;
use http::StatusCode;

use super::super::call::{AdminCall, Failure, Reply};
use crate::ports::{EventInbox, Platform};
use crate::reply;

pub(in super::super) async fn replay<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let gateway = call.gateway;
    let kept = gateway.inbox.event(id).await?.ok_or_else(|| Failure::not_found("event"))?;
    if is_of_other_mode(kept.livemode, gateway.shared.config.stripe.livemode) {
        return Err(Failure::conflict(
            "The event's `livemode` does not match `stripe.livemode`: it has no effect.",
        ));
    }
    let found = gateway.inbox.replay(id, call.at).await?;
    let entry = found.ok_or_else(|| Failure::not_found("event"))?;
    match &entry.customer {
        Some(customer) => {
            gateway.process_customer(customer).await;
        }
        None if entry.state == DeliveryState::Pending => gateway.assign_unassigned_events().await,
        None => {
            return Err(Failure::conflict("The event names no customer: it cannot be replayed."));
        }
    }
    // Read it again: it is done now, or pending with the reason.
    let now = gateway.inbox.event(id).await?;
    Ok(reply::json::<P>(StatusCode::OK, &now.unwrap_or(entry))?)
}
