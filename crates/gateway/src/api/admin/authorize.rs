//! Who may use the admin API: whoever has a token. Failures are throttled per address.

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
    shared.admin_shield.look(arrival.ip, arrival.at)?;
    if shared.admin_tokens.admit(&arrival.head.headers) {
        return Ok(());
    }
    shared.admin_shield.count(arrival.ip, Count::Failed, arrival.at)?;
    Err(Denial::AdminToken.into())
}
