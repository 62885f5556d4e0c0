//! `POST /admin/v1/organizations/{id}/disputes/clear`: an operator clears disputes by hand.
//!
//! Each clearing is stored in the event inbox and processed like Stripe's own
//! `charge.dispute.closed`: see [`driftlock_domain::stripe::clearing`].

use driftlock_domain::stripe::apply::open_disputes;
use driftlock_domain::stripe::clearing::{Clearing, REASON_CHARS_MAX};
use driftlock_domain::stripe::event::{Event, EventKind};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input;
use crate::ports::{EventInbox, Platform};
use crate::reply;
use crate::stripe::billing::Processed;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Which dispute; all open ones if absent.
    dispute: Option<String>,
    /// Why it is cleared, for the audit log.
    reason: String,
}

pub(in super::super) async fn clear<P: Platform>(mut call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let body = call.body().await?;
    let Wanted { dispute: named, reason } = input::json(&body)?;
    let reason = input::text("reason", &reason, REASON_CHARS_MAX)?;
    let organization = call.organization(id).await?;
    let gateway = call.gateway;
    let customer = organization.stripe_customer_id.unwrap_or_default();
    let mode = gateway.shared.config.stripe.livemode;
    let file = gateway.inbox.customer(&customer).await?;
    let events: Vec<Event> = file
        .events
        .iter()
        .filter_map(|filed| Event::parse(&filed.body).ok())
        .filter(|event| !event.is_of_other_mode(mode))
        .collect();
    let opened = |dispute: &str| {
        let is_it = |event: &&Event| {
            event.kind == EventKind::DisputeCreated && event.object["id"].as_str() == Some(dispute)
        };
        events.iter().find(is_it)
    };
    if named.as_deref().is_some_and(|named| opened(named).is_none()) {
        return Err(Failure::not_found("dispute"));
    }
    let mut wanted = open_disputes(&events);
    wanted.retain(|open| named.as_ref().is_none_or(|named| named == open));
    let clearing: Clearing = call.clearing(reason);
    for opened in wanted.iter().filter_map(|dispute| opened(dispute)) {
        if let Some(delivery) = clearing.delivery(opened, &customer, call.at) {
            gateway.inbox.receive(delivery).await?;
        }
    }
    let mut waiting = None;
    if !wanted.is_empty()
        && let Processed::Waiting(why) = gateway.process_customer(&customer).await
    {
        waiting = Some(why);
    }
    let answer = json!({
        "organization": organization.id,
        "customer": Some(customer).filter(|customer| !customer.is_empty()),
        "cleared": wanted,
        "reason": clearing.reason,
        "waiting": waiting,
    });
    Ok(reply::json::<P>(StatusCode::OK, &answer)?)
}
