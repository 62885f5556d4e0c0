//! Step 1: what is malformed, or comes too often from one address, goes no further. No I/O.

use driftlock_domain::denial::Denial;
use driftlock_domain::filter::{check_head, is_refused_agent};
use driftlock_domain::request::normalize_path;

use super::call::denied;
use crate::gateway::{Arrival, Gateway};
use crate::ports::{Platform, Refusal};
use crate::shield::Count;

/// The path in normal form.
///
/// # Errors
/// The denial of a malformed request or an abusive address.
pub(crate) fn filter<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
) -> Result<String, Refusal> {
    gateway.shared.shield.count(arrival.ip, Count::All, arrival.at)?;
    screen(gateway, arrival)?;
    let path = normalize_path(arrival.head.uri.path()).map_err(denied)?;
    Ok(path.into_owned())
}

/// Everything of it that does not depend on how often the address comes.
///
/// # Errors
/// The denial of a malformed request, or of one that the operator wants refused.
pub(crate) fn screen<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
) -> Result<(), Refusal> {
    let shared = &gateway.shared;
    if shared.refused_addresses.contains(arrival.ip) {
        return Err(Denial::AddressRefused.into());
    }
    check_head(&arrival.head, &shared.config.filter).map_err(denied)?;
    if is_refused_agent(&arrival.head.headers, &shared.refused_agents) {
        return Err(Denial::UserAgentRefused.into());
    }
    Ok(())
}
