//! Who may use the admin API: a request with a valid token. A valid token always passes; the answers
//! to wrong ones are throttled by address, on each listener by a count of its own.

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
