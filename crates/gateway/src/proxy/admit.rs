//! Step 5: rate limits and quota, all or nothing.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use driftlock_domain::cell::{Charge, HoldAsk};
use driftlock_domain::config::Timeouts;
use driftlock_domain::idempotency::Claim;
use driftlock_domain::route::Route;

use super::call::{Admitted, Call, Held};
use crate::gateway::Gateway;
use crate::ports::{Admission, Platform, Refusal, id_entropy};

/// What settling may take beyond the backend's own time.
const SETTLING_MARGIN: Duration = Duration::from_secs(10);
/// A request is sent at most this often.
const ATTEMPTS_MAX: u64 = 2;

/// Admits a request, with a hold if its route is metered.
pub(crate) async fn admit<P: Platform>(
    gateway: &Gateway<P>,
    call: Rc<Call>,
    claim: Option<Claim>,
) -> Result<Admitted<P>, Refusal> {
    let hold = (call.route.units > 0).then(|| HoldAsk {
        usage: gateway.admission.usage_id(
            call.organization(),
            call.at,
            id_entropy(&gateway.entropy),
        ),
        units: call.route.units,
        lifetime: lifetime(&call.route, &gateway.shared.config.timeouts),
        claim,
    });
    take(gateway, call, hold).await
}

/// Admits a request that is charged nothing, whatever its route.
pub(crate) async fn admit_uncharged<P: Platform>(
    gateway: &Gateway<P>,
    call: Rc<Call>,
) -> Result<Admitted<P>, Refusal> {
    take(gateway, call, None).await
}

async fn take<P: Platform>(
    gateway: &Gateway<P>,
    call: Rc<Call>,
    hold: Option<HoldAsk>,
) -> Result<Admitted<P>, Refusal> {
    let claim = hold.as_ref().and_then(|ask| ask.claim);
    let entitlement = &call.entitlement;
    let own_rate = call.key.record.requests_per_minute.and_then(NonZeroU32::new);
    let charge = Charge {
        key: call.key.record.id,
        key_requests_per_minute: own_rate.unwrap_or(entitlement.key_requests_per_minute),
        organization_requests_per_minute: entitlement.organization_requests_per_minute,
        terms: entitlement.terms,
        hold,
    };
    let organization = call.organization();
    let admitted = gateway.admission.admit(organization, &charge).await?;
    let held = admitted.hold.map(|hold| Held::new(gateway.clone(), organization, hold, claim));
    Ok(Admitted { gateway: gateway.clone(), call, limits: admitted.limits, held })
}

/// A hold outlives everything that its request may wait for.
pub(super) fn lifetime(route: &Route, timeouts: &Timeouts) -> Duration {
    let attempt = timeouts.backend_connect_ms.saturating_add(route.head_timeout_ms);
    Duration::from_millis(attempt.saturating_mul(ATTEMPTS_MAX)) + SETTLING_MARGIN
}
