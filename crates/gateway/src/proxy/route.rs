//! Step 2: finds the route, and checks handshake, declared body length and content type for it.

use std::sync::Arc;

use driftlock_domain::denial::Denial;
use driftlock_domain::filter::{Malformed, declared_length, is_accepted_type};
use driftlock_domain::key::PresentedKey;
use driftlock_domain::route::{NoRoute, Route};
use driftlock_domain::websocket::{Asked, asked};

use super::call::denied;
use crate::gateway::{Arrival, Gateway};
use crate::ports::{Platform, Refusal};
use crate::shield::Count;

pub(crate) fn route<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
    path: &str,
) -> Result<Arc<Route>, Refusal> {
    let head = &arrival.head;
    let found = gateway.shared.routes.find(&head.method, path).map_err(|none| {
        let denial = match none {
            NoRoute::NotFound => Denial::NotFound,
            NoRoute::MethodNotAllowed(methods) => Denial::MethodNotAllowed(methods),
        };
        unrouted(gateway, arrival, denial)
    })?;
    if found.websocket && asked(head) == Asked::Incomplete {
        return Err(denied(Malformed::Handshake));
    }
    if declared_length(&head.headers).is_some_and(|length| length > found.body_bytes_max) {
        return Err(Denial::BodyTooLarge(found.body_bytes_max).into());
    }
    if !is_accepted_type(&head.headers, &found.content_types) {
        return Err(Denial::ContentType(found.content_types.clone()).into());
    }
    Ok(Arc::clone(found))
}

/// Refuses a request that matches no route. If its key is not in this node's cache, the request
/// counts as one without a valid key: the key is not looked up, so it may be invalid.
pub(crate) fn unrouted<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
    denial: Denial,
) -> Refusal {
    let shared = &gateway.shared;
    let presented = PresentedKey::parse(&arrival.head.headers);
    if presented.is_ok_and(|key| shared.keys.is_present(&key.hash())) {
        return denial.into();
    }
    let shield = shared.shields.of(arrival.listener);
    let counted = shield.count(arrival.source, Count::Failed, arrival.at);
    counted.err().unwrap_or(denial).into()
}
