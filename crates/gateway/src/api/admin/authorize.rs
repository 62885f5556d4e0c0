//! Authorizes requests to the admin API by their token. A valid token always passes. Wrong tokens
//! are limited by address; each listener has a separate count.

use driftlock_domain::denial::Denial;

use crate::gateway::{Arrival, Gateway};
use crate::ports::{Platform, Refusal};
use crate::shield::Count;

pub(super) fn authorize<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
) -> Result<(), Refusal> {
    let shared = &gateway.shared;
    if shared.admin_tokens.is_empty() {
        return Err(Denial::NotFound.into());
    }
    if shared.admin_tokens.admit(&arrival.head.headers) {
        return Ok(());
    }
    let shield = shared.admin_shields.of(arrival.listener);
    shield.count(arrival.source, Count::Failed, arrival.at)?;
    Err(Denial::AdminToken.into())
}
