//! `POST /` and `POST /webhooks/stripe`: what Stripe delivers is verified over its very bytes, kept,
//! and acknowledged once it is committed. Processing comes after, from the inbox (`billing.rs`).
//!
//! An answer other than 2xx makes Stripe deliver again, for up to three days: so only what we have
//! lost is refused with 5xx, and what will never be right with 4xx.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use driftlock_domain::denial::Denial;
use driftlock_domain::filter::{declared_length, is_accepted_type};
use driftlock_domain::problem::Problem;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState};
use driftlock_domain::stripe::signature::Presented;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::gateway::{Answer, Arrival, Gateway};
use crate::ports::{Clock, EventInbox, Platform, Refusal, Upstream};
use crate::shield::Count;
use crate::stripe::in_flight::UNASSIGNED;
use crate::{proxy, reply};

/// The greatest delivery taken, in bytes.
const BODY_BYTES_MAX: u64 = 512 << 10;
/// Deliveries of addresses that have failed too often which are read at once.
const UNVERIFIED_MAX: usize = 16;
const SIGNATURE: &str = "stripe-signature";
/// When Stripe may ask again while no secret is configured.
const UNCONFIGURED_WAIT: Duration = Duration::from_secs(60);

/// Whether a path is for deliveries.
pub(crate) fn is_webhook(path: &str) -> bool {
    matches!(path, "/" | "/webhooks/stripe")
}

pub(crate) async fn answer<P: Platform>(gateway: &Gateway<P>, arrival: Arrival<P>) -> Answer<P> {
    let shared = &gateway.shared;
    let (source, at, id) = (arrival.source, arrival.at, arrival.id.clone());
    let refused = |problem: &Problem| Ok(reply::problem::<P>(problem, &id));
    if arrival.head.method != Method::POST {
        proxy::filter(gateway, &arrival)?;
        return Err(Denial::MethodNotAllowed(vec![Method::POST]).into());
    }
    if shared.webhook_secrets.is_none() {
        proxy::filter(gateway, &arrival)?;
        return refused(&unconfigured());
    }
    proxy::screen(gateway, &arrival)?;
    // Counted as one that failed before its body is read, so that an address has as many unverified
    // bodies in memory as it may fail with. Beyond, a few of all such addresses together are read all
    // the same: what is Stripe's passes, whoever else sends from behind the same address.
    let counted = shared.webhook_shield.count(source, Count::Failed, at);
    let _slot = match &counted {
        Ok(()) => None,
        Err(denial) => Some(shared.unverified.enter().ok_or_else(|| denial.clone())?),
    };
    let received = receive(gateway, arrival).await;
    // What is Stripe's does not count, so that no burst of it is too many; a fault of ours does not.
    if let (Ok(()), Ok(Ok(_)) | Err(Refusal::Fault(_))) = (&counted, &received) {
        shared.webhook_shield.give_back(source, Count::Failed);
    }
    match received? {
        Ok(receipt) => Ok(reply::json::<P>(StatusCode::OK, &receipt)?),
        Err(problem) => {
            counted?;
            refused(&problem)
        }
    }
}

/// Deliveries under way from addresses that have failed too often.
#[derive(Debug, Default)]
pub(crate) struct Unverified(AtomicUsize);

/// One of them, until it is dropped.
struct Slot<'a>(&'a Unverified);

impl Unverified {
    fn enter(&self) -> Option<Slot<'_>> {
        let more = |count: usize| (count < UNVERIFIED_MAX).then_some(count + 1);
        let entered = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered.is_ok().then(|| Slot(self))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps a delivery; the outer error is of the flow, the inner one what the sender did wrong.
async fn receive<P: Platform>(
    gateway: &Gateway<P>,
    arrival: Arrival<P>,
) -> Result<Result<Value, Problem>, Refusal> {
    let Arrival { at, head, body, .. } = arrival;
    let json_only = ["application/json".to_owned()];
    if !is_accepted_type(&head.headers, &json_only) {
        return Err(Denial::ContentType(json_only.into()).into());
    }
    if declared_length(&head.headers).is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Denial::BodyTooLarge(BODY_BYTES_MAX).into());
    }
    let Some(signature) = head.headers.get(SIGNATURE) else {
        return Ok(Err(invalid(
            "There is no Stripe-Signature header: `t=<Unix seconds>,v1=<hex HMAC-SHA256>` belongs \
             there, made with this endpoint's whsec_… secret.",
        )));
    };
    let unsigned = |error| invalid(&format!("The Stripe-Signature header: {error}."));
    // Before the body is read: what is right for no body costs no more than its head. The wall clock
    // judges the signature's age, since Stripe states it by its own: the order's clock may be ahead.
    let presented = match Presented::parse(signature.as_bytes(), gateway.clock.wall().secs()) {
        Ok(presented) => presented,
        Err(error) => return Ok(Err(unsigned(error))),
    };
    let shared = &gateway.shared;
    let body = gateway.upstream.collect(body, BODY_BYTES_MAX, &shared.buffers).await?;
    let Some(secrets) = &shared.webhook_secrets else { return Ok(Err(unconfigured())) };
    if let Err(error) = presented.verify(&body, secrets) {
        return Ok(Err(unsigned(error)));
    }
    let delivery = match Delivery::read(&body, at, shared.config.stripe.livemode) {
        Ok(delivery) => delivery,
        Err(error) => return Ok(Err(invalid(&format!("The event: {error}.")))),
    };
    let (state, customer) = (delivery.state, delivery.customer.clone());
    if state == DeliveryState::Dead {
        tracing::error!(event = delivery.event, note = delivery.note, "a dead letter of Stripe's");
    }
    let is_new = gateway.inbox.receive(delivery).await?;
    if let (DeliveryState::Pending, Some(customer), true) = (state, customer, is_new) {
        gateway.process_soon(&customer);
    } else if state == DeliveryState::Pending && is_new {
        gateway.process_soon(UNASSIGNED);
    }
    Ok(Ok(json!({ "received": true, "duplicate": !is_new })))
}

fn invalid(detail: &str) -> Problem {
    let title = "The delivery cannot be taken";
    Problem::new(StatusCode::BAD_REQUEST, "invalid-webhook", title, detail.to_owned())
}

fn unconfigured() -> Problem {
    let detail = "No ENV_STRIPE_WEBHOOK_SECRET is set: deliveries cannot be verified yet.";
    let title = "Webhooks are not configured";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "webhook-unconfigured", title, detail.to_owned())
        .after(UNCONFIGURED_WAIT)
}
