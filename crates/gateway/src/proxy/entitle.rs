//! Step 4: decides whether the organization may call, and on what terms. No I/O.

use std::rc::Rc;
use std::sync::Arc;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::decide;
use driftlock_domain::ledger_host::LedgerHost;
use driftlock_domain::route::Route;
use driftlock_domain::time::Timestamp;
use http::Uri;
use http::uri::PathAndQuery;

use super::authenticate::Caller;
use super::call::{Call, Forwarded, denied};
use crate::gateway::{Arrival, Gateway};
use crate::ports::{Platform, Refusal};

pub(crate) fn entitle<P: Platform>(
    gateway: &Gateway<P>,
    arrival: Arrival<P>,
    route: Arc<Route>,
    caller: Caller,
    path: String,
) -> Result<(Rc<Call>, Forwarded<P>), Refusal> {
    let Arrival { at, id, ip, trusted, mut head, body, .. } = arrival;
    let Caller { key, organization } = caller;
    let config = &gateway.shared.config;
    let decision = decide(&organization, config, at);
    if route.needs_subscription {
        decision.verdict.map_err(denied)?;
    }
    let plan = config.plan(decision.plan).ok_or_else(|| {
        let cause = format!("the plan `{}` of an organization is not configured", decision.plan);
        Fault::new(FaultKind::Internal, cause)
    })?;
    if route.units > 0 {
        check_ledger_host::<P>(organization.ledger, at)?;
    }
    let entitlement = decision.entitlement(&organization, plan);
    let wanted = route.rewrite.as_ref().map_or(path.as_str().into(), |to| to.apply(&path));
    if wanted != head.uri.path() {
        head.uri = with_path(&head.uri, &wanted)?;
    }
    let body_bytes_max = route.body_bytes_max;
    let method = head.method.clone();
    let ledger = organization.ledger;
    let call = Call { at, id, ip, trusted, method, route, key, entitlement, ledger };
    Ok((Rc::new(call), Forwarded { head, body, body_bytes_max }))
}

/// Checks that this kind of host meters the organization.
///
/// # Errors
/// When the other kind does: if both hosts metered it, both would grant its cap (I4).
pub(super) fn check_ledger_host<P: Platform>(
    ledger: LedgerHost,
    at: Timestamp,
) -> Result<(), Fault> {
    match ledger.at(at) {
        kind if kind == P::LEDGER => Ok(()),
        kind => {
            let cause =
                format!("the organization's units are counted by {kind}: see `org ledger-host`");
            Err(Fault::new(FaultKind::WrongLedgerHost, cause))
        }
    }
}

fn with_path(uri: &Uri, path: &str) -> Result<Uri, Fault> {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(target)
        .map(Uri::from)
        .map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))
}
