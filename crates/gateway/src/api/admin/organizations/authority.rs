//! `/admin/v1/organizations/{id}/authority`: which kind of gateway holds its ledger.

use driftlock_domain::authority::{Authority, LedgerHolder};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input;
use crate::ports::{Directory, Platform};
use crate::reply;

#[derive(Serialize)]
struct View {
    authority: Option<Authority>,
    /// Until then units that were leased before it moved may still be used, in milliseconds.
    lapses_in_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    to: Authority,
}

pub(in super::super) async fn show<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let organization = call.organization(id).await?;
    answer::<P>(call.gateway.directory.ledger_holder(organization.id).await?)
}

pub(in super::super) async fn change<P: Platform>(
    mut call: AdminCall<'_, P>,
    id: &str,
) -> Reply<P> {
    let body = call.body().await?;
    let Body { to } = input::json(&body)?;
    let organization = call.organization(id).await?;
    let details = json!({ "to": to });
    let audit = call.audit("organization.authority", organization.id.to_string(), &details);
    answer::<P>(call.gateway.directory.move_ledger(organization.id, to, audit).await?)
}

fn answer<P: Platform>(holder: Option<LedgerHolder>) -> Reply<P> {
    let Some(LedgerHolder { authority, lapses_in }) = holder else {
        return Err(Failure::conflict("This store has gateways of one kind only."));
    };
    let lapses_in_ms = u64::try_from(lapses_in.as_millis()).unwrap_or(u64::MAX);
    Ok(reply::json::<P>(StatusCode::OK, &View { authority, lapses_in_ms })?)
}
