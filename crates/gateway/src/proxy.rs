//! Proxies a request to the backend and its answer back, in eight steps.
//!
//! Each step takes the type that the step before it returns: only an admitted request can be
//! forwarded, and only an answered one can be settled. If a step refuses the request, its hold is
//! dropped, and a dropped hold gives its units back. Work that a client's disconnect must not
//! cancel (settling, and everything under an idempotency key) continues in the background.

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

/// Runs all steps. They fill `audit_context` with the caller, for the audit row of a refusal.
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
        // Boxed: otherwise its size is moved with every request that has no key.
        return Box::pin(keyed::keyed(gateway, call, request, &key)).await;
    }
    let admitted = admit::admit(gateway, call, None).await?;
    let answered = forward::forward(admitted, request.limited()).await?;
    let settled = settle::settle(answered, None).await?;
    Ok(respond::respond(settled))
}
