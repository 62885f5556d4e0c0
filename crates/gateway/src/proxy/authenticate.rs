//! Step 3: finds the API key and its organization, and checks that the key is valid now, from this
//! address and for this route.

use std::sync::Arc;

use driftlock_domain::denial::{Denial, Fault, FaultKind};
use driftlock_domain::key::{KeyDenial, PresentedKey};
use driftlock_domain::organization::Organization;
use driftlock_domain::route::Route;

use super::AuditContext;
use crate::gateway::{Arrival, Gateway};
use crate::keys::CachedKey;
use crate::ports::{Platform, Refusal};
use crate::shield::Count;

/// A key and its organization.
pub(crate) struct Caller {
    pub(crate) key: Arc<CachedKey>,
    pub(crate) organization: Arc<Organization>,
}

pub(crate) async fn authenticate<P: Platform>(
    gateway: &Gateway<P>,
    arrival: &Arrival<P>,
    route: &Arc<Route>,
    audit_context: &mut AuditContext,
) -> Result<Caller, Refusal> {
    let failed = |denial: Denial| -> Refusal {
        // Counts a request without a valid key. Beyond the limit the client gets 429 instead.
        let shield = gateway.shared.shields.of(arrival.listener);
        let counted = shield.count(arrival.source, Count::Failed, arrival.at);
        counted.err().unwrap_or(denial).into()
    };
    let presented = PresentedKey::parse(&arrival.head.headers).map_err(|m| failed(m.into()))?;
    let key = gateway.cached_key(presented.hash(), arrival.source, arrival.at).await?;
    let key = key.ok_or_else(|| failed(Denial::KeyUnknown))?;
    audit_context.caller(&key, route);
    key.record.check(arrival.at, arrival.ip, route.scope.as_deref()).map_err(
        |denial| match denial {
            KeyDenial::Revoked | KeyDenial::Expired => failed(denial.into()),
            KeyDenial::AddressNotAllowed | KeyDenial::ScopeMissing => Denial::from(denial).into(),
        },
    )?;
    gateway.shared.touched.touch(&key, arrival.at);
    let organization = gateway.cached_organization(key.record.organization, arrival.at).await?;
    let organization = organization
        .ok_or_else(|| Fault::new(FaultKind::Internal, "the key's organization does not exist"))?;
    Ok(Caller { key, organization })
}
