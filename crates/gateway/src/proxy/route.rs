//! Step 2: which route it is, and whether a body of the declared length may go there.

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

/// The refusal of a request that goes nowhere. Without a key that is remembered here it counts as
/// one without any: nothing is looked up for it, so that another key cannot be told from none.
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
