//! Step 7: a success is made durable before its head is answered; anything else costs nothing.

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

/// `answer` is what is to be kept for an idempotency key, in the same commit.
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
    // A handover in between: the unit belongs to a period that another kind of ledger counts.
    check_ledger_host::<P>(call.ledger, at)?;
    let receipt = held.hold.usage;
    let settlement = Settlement { answer, ..settlement(&gateway, &call, &held, status, at) };
    let work = commit(gateway.clone(), held, settlement);
    gateway.uncancelled(work).await?;
    let response = response.map(|body| watched(&gateway, &call, body));
    Ok(Settled { limits, receipt: Some(receipt), response })
}

/// Whether an answer is one that is paid for.
pub(super) fn is_success(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// Runs to its end whatever becomes of the client: the hold goes with it.
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
            let cause = "the reservation had lapsed and no unit was left";
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

/// A body that breaks off after its head stays charged, and is audited.
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
