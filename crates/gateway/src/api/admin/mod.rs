//! The admin API: `/admin/v1/…`, for operators with a token.
//!
//! Each endpoint has a file. A change and its audit row are one commit, and the changed record is
//! dropped from this node's cache before the answer is sent (I5).

mod alerts;
mod audit;
mod authorize;
mod call;
mod input;
mod keys;
mod organizations;
mod receipt;
mod stripe;
mod usage;

use driftlock_domain::denial::Denial;
use http::Method;

use self::call::{AdminCall, Failure, Reply};
use crate::gateway::{Answer, Arrival, Gateway};
use crate::ports::Platform;
use crate::{proxy, reply};

pub(crate) async fn answer<P: Platform>(gateway: &Gateway<P>, arrival: Arrival<P>) -> Answer<P> {
    let path = proxy::filter_uncounted(gateway, &arrival)?;
    authorize::authorize(gateway, &arrival)?;
    let id = arrival.id.clone();
    let call = AdminCall::new(gateway, arrival);
    match route(call, &path).await {
        Ok(response) => Ok(response),
        Err(Failure::Problem(problem)) => Ok(reply::problem::<P>(&problem, &id)),
        Err(Failure::Refusal(refusal)) => Err(refusal),
    }
}

async fn route<P: Platform>(call: AdminCall<'_, P>, path: &str) -> Reply<P> {
    let Some(rest) = path.strip_prefix("/admin/v1/") else { return Err(Denial::NotFound.into()) };
    let segments: Vec<&str> = rest.split('/').collect();
    let (get, post) = (Method::GET, Method::POST);
    match segments[..] {
        ["organizations"] => match *call.method() {
            Method::GET => organizations::list::list(call).await,
            Method::POST => organizations::create::create(call).await,
            _ => Err(not_allowed([get, post])),
        },
        ["organizations", id] => match *call.method() {
            Method::GET => organizations::show::show(call, id).await,
            Method::PATCH => organizations::update::update(call, id).await,
            _ => Err(not_allowed([get, Method::PATCH])),
        },
        ["organizations", id, "keys"] => match *call.method() {
            Method::GET => keys::list::list(call, id).await,
            Method::POST => keys::create::create(call, id).await,
            _ => Err(not_allowed([get, post])),
        },
        ["keys", id, "revoke"] if call.is(&post) => keys::revoke::revoke(call, id).await,
        ["keys", id, "rotate"] if call.is(&post) => keys::rotate::rotate(call, id).await,
        ["keys", _, "revoke" | "rotate"] => Err(not_allowed([post])),
        ["organizations", id, "usage"] if call.is(&get) => usage::usage(call, id).await,
        ["organizations", id, "audit"] if call.is(&get) => audit::list::list(call, id).await,
        ["organizations", id, "audit", "export"] if call.is(&get) => {
            audit::export::export(call, id).await
        }
        ["organizations", id, "audit", "verify"] if call.is(&get) => {
            audit::verify::verify(call, id).await
        }
        ["organizations", id, "invoices"] if call.is(&get) => {
            stripe::invoices::invoices(call, id).await
        }
        ["organizations", id, "invoices", "upcoming"] if call.is(&get) => {
            stripe::upcoming::upcoming(call, id).await
        }
        ["organizations", id, "checkout"] if call.is(&post) => {
            stripe::checkout::checkout(call, id).await
        }
        ["organizations", id, "ledger-host"] if call.is(&post) => {
            organizations::ledger_host::hand_over(call, id).await
        }
        ["organizations", id, "disputes", "clear"] if call.is(&post) => {
            stripe::disputes::clear(call, id).await
        }
        ["organizations", id, "portal"] if call.is(&post) => stripe::portal::portal(call, id).await,
        ["organizations", id, "alerts"] if call.is(&get) => alerts::alerts(call, id).await,
        ["stripe", "reconcile"] if call.is(&post) => stripe::reconcile::reconcile(call).await,
        ["organizations", _, "ledger-host" | "checkout" | "portal"]
        | ["organizations", _, "disputes", "clear"]
        | ["stripe", "reconcile"] => Err(not_allowed([post])),
        ["stripe", "events"] if call.is(&get) => stripe::events::events(call).await,
        ["stripe", "events", id] if call.is(&get) => stripe::events::event(call, id).await,
        ["stripe", "events", id, "replay"] if call.is(&post) => {
            stripe::replay::replay(call, id).await
        }
        ["stripe", "reports"] if call.is(&get) => stripe::reports::reports(call).await,
        ["stripe", "reports", id, "retry"] if call.is(&post) => {
            stripe::reports::retry(call, id).await
        }
        ["stripe", "reports", _, "retry"] => Err(not_allowed([post])),
        ["stripe", "events", _, "replay"] => Err(not_allowed([post])),
        ["receipts", id] if call.is(&get) => receipt::receipt(call, id).await,
        ["organizations", _, "usage" | "audit" | "invoices" | "alerts"]
        | ["organizations", _, "invoices", "upcoming"]
        | ["organizations", _, "audit", "export" | "verify"]
        | ["stripe", "events" | "reports"]
        | ["stripe", "events", _]
        | ["receipts", _] => Err(not_allowed([get])),
        _ => Err(Denial::NotFound.into()),
    }
}

fn not_allowed<const N: usize>(methods: [Method; N]) -> Failure {
    Denial::MethodNotAllowed(methods.into()).into()
}
