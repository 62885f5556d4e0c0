//! Step 5: takes the request's share of the rate limits and the quota, all or nothing.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use driftlock_domain::cell::{Charge, HoldAsk};
use driftlock_domain::config::Timeouts;
use driftlock_domain::idempotency::{ANSWER_WITHIN, IdempotencyKey};
use driftlock_domain::route::Route;

use super::call::{Admitted, Call, Held};
use crate::gateway::Gateway;
use crate::ports::{Admission, Platform, Refusal, id_entropy};

/// How long settling may take after the backend's answer.
const SETTLING_MARGIN: Duration = Duration::from_secs(10);
/// A request is sent to the backend at most this many times.
const ATTEMPTS_MAX: u64 = 2;

/// Admits a request before its body is read, with a hold if its route is metered.
pub(crate) async fn admit<P: Platform>(
    gateway: &Gateway<P>,
    call: Rc<Call>,
    key: Option<IdempotencyKey>,
) -> Result<Admitted<P>, Refusal> {
    let hold = (call.route.units > 0).then(|| HoldAsk {
        usage: gateway.admission.usage_id(
            call.organization(),
            call.at,
            id_entropy(&gateway.entropy),
        ),
        units: call.route.units,
        lifetime: streamed(call.route.head_timeout_ms, &gateway.shared.config.timeouts)
            // With an idempotency key the answer's body is read before settling.
            .saturating_add(key.map_or(Duration::ZERO, |_| ANSWER_WITHIN)),
        claim: key,
    });
    take(gateway, call, hold).await
}

/// Admits a request without a hold, whatever its route costs.
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
    let key = hold.as_ref().and_then(|ask| ask.claim);
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
    let held = admitted.hold.map(|hold| Held::new(gateway.clone(), organization, hold, key));
    Ok(Admitted { gateway: gateway.clone(), call, limits: admitted.limits, held })
}

/// How long the hold of a streamed request lives: as long as the client may take to send the body,
/// and the backend to answer.
fn streamed(head_timeout_ms: u64, timeouts: &Timeouts) -> Duration {
    let sending = Duration::from_millis(timeouts.request_ms);
    answered(head_timeout_ms, timeouts).saturating_add(sending)
}

/// How long the claim of a key lives whose payload is in memory: as long as the backend may take to
/// answer, and the answer's body to arrive.
pub(super) fn lifetime(route: &Route, timeouts: &Timeouts) -> Duration {
    answered(route.head_timeout_ms, timeouts).saturating_add(ANSWER_WITHIN)
}

fn answered(head_timeout_ms: u64, timeouts: &Timeouts) -> Duration {
    let attempt = timeouts.backend_connect_ms.saturating_add(head_timeout_ms);
    Duration::from_millis(attempt.saturating_mul(ATTEMPTS_MAX)).saturating_add(SETTLING_MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_outlives_the_slowest_upload_and_the_backend_s_time_after_it() {
        let timeouts = Timeouts { request_ms: 300_000, ..Timeouts::default() };
        let upload = Duration::from_millis(timeouts.request_ms);
        let backend = Duration::from_millis(timeouts.backend_connect_ms + 30_000);
        assert!(streamed(30_000, &timeouts) > upload + 2 * backend);
        assert!(answered(30_000, &timeouts) > 2 * backend, "without the time of the upload");
        let never = Timeouts { request_ms: u64::MAX, ..timeouts };
        assert!(streamed(u64::MAX, &never) >= Duration::from_millis(u64::MAX));
    }
}
