//! `POST /` and `POST /webhooks/stripe` receive Stripe's deliveries. A delivery's signature is
//! verified over its raw bytes, the delivery is stored, and acknowledged after the commit. Events
//! are processed from the inbox afterwards (`stripe/billing.rs`).
//!
//! Stripe repeats a delivery for up to three days unless the answer is 2xx. So 5xx means that we
//! could not store it and need it again; 4xx means that this delivery can never be accepted.

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

/// The largest accepted delivery, in bytes.
const BODY_BYTES_MAX: u64 = 512 << 10;
/// How many deliveries from addresses with too many failures are read at once.
const UNVERIFIED_MAX: usize = 16;
const SIGNATURE: &str = "stripe-signature";
/// `Retry-After` while no secret is configured.
const UNCONFIGURED_WAIT: Duration = Duration::from_secs(60);

/// Whether a path receives Stripe's deliveries.
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
    // Count the delivery as failed before its body is read. So the failures that an address may
    // have also bound its unverified bodies in memory. Of addresses beyond that bound,
    // UNVERIFIED_MAX deliveries are still read at once, so that Stripe gets through if another
    // sender shares its address.
    let counted = shared.webhook_shield.count(source, Count::Failed, at);
    let _slot = match &counted {
        Ok(()) => None,
        Err(denial) => Some(shared.unverified.enter().ok_or_else(|| denial.clone())?),
    };
    let received = receive(gateway, arrival).await;
    // A verified delivery does not count as failed, so that a burst of them is not refused. Neither
    // does a delivery that failed by our own fault.
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

/// The deliveries in progress from addresses with too many failures.
#[derive(Debug, Default)]
pub(crate) struct Unverified(AtomicUsize);

/// A permit for one such delivery, until it is dropped.
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

/// Verifies and stores a delivery. The inner error is the sender's and counts as a failure; the
/// outer error ends the request like any other refusal.
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
    // Check the header before the body is read, so that a header that fits no body costs no more
    // than the head. The signature's age is judged by the wall clock, as Stripe's time is: the
    // gateway's monotonic order of times may be ahead of it.
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
        let (event, error) = (&delivery.event, &delivery.note);
        tracing::error!(event, error, "Stripe event is a dead letter");
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
    let title = "The delivery cannot be accepted";
    Problem::new(StatusCode::BAD_REQUEST, "invalid-webhook", title, detail.to_owned())
}

fn unconfigured() -> Problem {
    let detail = "No ENV_STRIPE_WEBHOOK_SECRET is set: deliveries cannot be verified yet.";
    let title = "Webhooks are not configured";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "webhook-unconfigured", title, detail.to_owned())
        .after(UNCONFIGURED_WAIT)
}
