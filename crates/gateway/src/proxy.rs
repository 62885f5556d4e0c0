//! A request's way to the backend and back, step by step.
//!
//! Each step takes what the one before it made: only what was admitted can be forwarded, only what
//! was answered can be settled. A refusal on the way gives back whatever was held, since holds give
//! themselves back when they are dropped. What a client's disconnect must not cut short (settling,
//! and everything under an idempotency key) goes on in the background.

mod admit;
mod audit_context;
mod authenticate;
mod call;
mod entitle;
mod filter;
mod forward;
mod keyed;
mod respond;
mod route;
mod settle;

use driftlock_domain::idempotency;

pub(crate) use audit_context::AuditContext;
pub(crate) use call::Call;
pub(crate) use filter::{filter, filter_uncounted, screen};
pub(crate) use route::unrouted;

use crate::gateway::{Answer, Arrival, Gateway};
use crate::ports::Platform;

/// The whole way. `audit_context` learns who called, for the audit row of a refusal.
pub(crate) async fn proxy<P: Platform>(
    gateway: &Gateway<P>,
    arrival: Arrival<P>,
    audit_context: &mut AuditContext,
) -> Answer<P> {
    let path = filter::filter(gateway, &arrival)?;
    let route = route::route(gateway, &arrival, &path)?;
    let caller = authenticate::authenticate(gateway, &arrival, &route, audit_context).await?;
    let (call, request) = entitle::entitle(gateway, arrival, route, caller, path)?;

    if call.route.units > 0
        && let Some(key) = idempotency::parse(&request.head.headers).map_err(call::denied)?
    {
        // Boxed, since its room would be copied around with the requests that need none.
        return Box::pin(keyed::keyed(gateway, call, request, &key)).await;
    }
    let admitted = admit::admit(gateway, call, None).await?;
    let answered = forward::forward(admitted, request.limited()).await?;
    let settled = settle::settle(answered, None).await?;
    Ok(respond::respond(settled))
}
