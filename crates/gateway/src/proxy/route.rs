//! Step 2: which route it is, and whether a body of the declared length may go there.

use std::sync::Arc;

use driftlock_domain::denial::Denial;
use driftlock_domain::filter::{Malformed, declared_length, is_accepted_type};
use driftlock_domain::route::{NoRoute, Route};
use driftlock_domain::websocket::is_asked;
use http::request::Parts as Head;

use super::call::denied;
use crate::gateway::Gateway;
use crate::ports::{Platform, Refusal};

pub(crate) fn route<P: Platform>(
    gateway: &Gateway<P>,
    head: &Head,
    path: &str,
) -> Result<Arc<Route>, Refusal> {
    let found = gateway.shared.routes.find(&head.method, path).map_err(|none| match none {
        NoRoute::NotFound => Denial::NotFound,
        NoRoute::MethodNotAllowed(methods) => Denial::MethodNotAllowed(methods),
    })?;
    if is_asked(&head.headers) && !found.websocket {
        return Err(denied(Malformed::Upgrade));
    }
    if declared_length(&head.headers).is_some_and(|length| length > found.body_bytes_max) {
        return Err(Denial::BodyTooLarge(found.body_bytes_max).into());
    }
    if !is_accepted_type(&head.headers, &found.content_types) {
        return Err(Denial::ContentType(found.content_types.clone()).into());
    }
    Ok(Arc::clone(found))
}
