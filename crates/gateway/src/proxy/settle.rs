//! Step 7: settles a successful answer before its head is sent. All other answers cost nothing.

use std::rc::Rc;
use std::sync::Arc;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::idempotency::KeptAnswer;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{self, Settlement};
use http::StatusCode;

use super::call::{Admitted, Answered, Call, Held, Settled};
use super::entitle::check_ledger_host;
use crate::gateway::Gateway;
use crate::ports::{Admission, BodyEnd, Clock, Platform, Refusal, Upstream};

/// Settles an answer. `answer` is stored for the idempotency key in the same commit.
pub(crate) async fn settle<P: Platform>(
    answered: Answered<P>,
    answer: Option<Arc<KeptAnswer>>,
) -> Result<Settled<P>, Refusal> {
    let Answered { admitted, response } = answered;
    let Admitted { gateway, call, limits, held } = admitted;
    let status = response.status();
    let at = gateway.clock.now();
    let Some(held) = held.filter(|_| is_success(status)) else {
        gateway.shared.audit.push(call.organization(), call.audit(at, "request", status.as_str()));
        return Ok(Settled { limits, receipt: None, response });
    };
    // A handover may have taken effect since admission: then the other kind of host meters the
    // organization now.
    check_ledger_host::<P>(call.ledger, at)?;
    let receipt = held.hold.usage;
    let settlement = Settlement { answer, ..settlement(&gateway, &call, &held, status, at) };
    let work = commit(gateway.clone(), held, settlement);
    gateway.uncancelled(work).await?;
    let response = response.map(|body| watched(&gateway, &call, body));
    Ok(Settled { limits, receipt: Some(receipt), response })
}

/// Whether an answer with this status is charged.
pub(super) fn is_success(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// Settles and ends the hold. The caller runs this to its end also when the client disconnects.
async fn commit<P: Platform>(
    gateway: Gateway<P>,
    held: Held<P>,
    settlement: Settlement,
) -> Result<(), Refusal> {
    let settled = gateway.admission.settle(settlement).await;
    match settled {
        Ok(usage::Settled::Committed { .. } | usage::Settled::Repeated { .. }) => {
            held.used();
            Ok(())
        }
        Ok(usage::Settled::Refused) => {
            let cause = "the hold expired before the settlement, and no unit was left";
            Err(Fault::new(FaultKind::Store, cause).into())
        }
        Err(fault) => Err(fault.into()),
    }
}

fn settlement<P: Platform>(
    gateway: &Gateway<P>,
    call: &Call,
    held: &Held<P>,
    status: StatusCode,
    at: Timestamp,
) -> Settlement {
    Settlement {
        usage: held.hold.usage,
        organization: call.organization(),
        key: call.key.record.id,
        route: Arc::clone(&call.route.label),
        units: held.hold.units,
        node: gateway.admission.node(),
        request_id: Arc::clone(&call.id.text),
        claim: held.claim(),
        answer: None,
        audit: call.audit(at, "request", status.as_str()),
    }
}

/// Writes an audit row if the body breaks off after the head was sent. The request stays charged.
fn watched<P: Platform>(
    gateway: &Gateway<P>,
    call: &Rc<Call>,
    body: crate::gateway::ResponseBody<P>,
) -> crate::gateway::ResponseBody<P> {
    let (gateway, call) = (gateway.clone(), Rc::clone(call));
    let ended = move |end: BodyEnd| {
        if end == BodyEnd::Truncated {
            let row = call.audit(gateway.clock.now(), "request.body", "truncated");
            gateway.shared.audit.push(call.organization(), row);
        }
    };
    P::Upstream::watch(body, Box::new(ended))
}
