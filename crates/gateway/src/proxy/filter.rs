//! Step 1: refuses malformed requests and too many requests from one address. No I/O.

use driftlock_domain::denial::Denial;
use driftlock_domain::filter::{check_head, is_refused_agent};
use driftlock_domain::key::PresentedKey;
use driftlock_domain::request::normalize_path;

use super::call::denied;
use crate::gateway::{Arrival, Gateway};
use crate::ports::{Platform, Refusal};
use crate::shield::Count;

/// Counts and checks a request, and returns its path in normal form.
///
/// # Errors
/// The denial of a malformed request or an abusive address.
pub(crate) fn filter<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
) -> Result<String, Refusal> {
    count(gateway, arrival)?;
    filter_uncounted(gateway, arrival)
}

/// Counts the request against the ceiling of its source. Beyond the ceiling a request that presents
/// a key still continues: the key is checked only later, and a valid key always passes.
fn count<P: Platform>(gateway: &Gateway<P>, arrival: &Arrival<P>) -> Result<(), Refusal> {
    let shield = gateway.shared.shields.of(arrival.listener);
    let counted = shield.count(arrival.source, Count::All, arrival.at);
    counted.or_else(|denial| match PresentedKey::parse(&arrival.head.headers) {
        Ok(_) => Ok(()),
        Err(_) => Err(denial.into()),
    })
}

/// Checks a request and returns its path in normal form. It does not count the request: use it for
/// endpoints that have a separate count.
///
/// # Errors
/// The denial of a malformed request.
pub(crate) fn filter_uncounted<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
) -> Result<String, Refusal> {
    screen(gateway, arrival)?;
    let path = normalize_path(arrival.head.uri.path()).map_err(denied)?;
    Ok(path.into_owned())
}

/// Checks the request's address and head, but not its path, and counts nothing.
///
/// # Errors
/// The denial of a malformed request, or of an address or user agent that the operator refuses.
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
