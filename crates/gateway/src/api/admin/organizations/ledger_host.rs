//! `POST /admin/v1/organizations/{id}/ledger-host`: hands an organization over to another kind of
//! ledger host.

use std::time::Duration;

use driftlock_domain::entitlement::decide;
use driftlock_domain::ledger_host::{LedgerKind, notice};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input;
use super::view::OrganizationView;
use crate::ports::{Directory, HandedOver, HandoverAsk, Platform};
use crate::reply;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// `leases` or `objects`.
    ledger: LedgerKind,
}

pub(in super::super) async fn hand_over<P: Platform>(
    mut call: AdminCall<'_, P>,
    id: &str,
) -> Reply<P> {
    let body = call.body().await?;
    let Wanted { ledger } = input::json(&body)?;
    let organization = call.organization(id).await?;
    let (gateway, details) = (call.gateway, json!({ "ledger": ledger }));
    let ask = HandoverAsk {
        organization: organization.id,
        to: ledger,
        period_end: decide(&organization, &gateway.shared.config, call.at).period.end,
        notice: notice(Duration::from_secs(gateway.shared.config.keys.max_stale_secs)),
        now: call.at,
        audit: call.audit("organization.ledger_host", organization.id.to_string(), &details),
    };
    let handed = gateway.directory.hand_over(ask).await?;
    gateway.shared.organizations.invalidate(&organization.id);
    match handed {
        HandedOver::Agreed(organization) => {
            let view = OrganizationView::of(*organization, &gateway.shared.config, call.at);
            Ok(reply::json::<P>(StatusCode::OK, &view)?)
        }
        HandedOver::Unknown => Err(Failure::not_found("organization")),
        HandedOver::OneKind => Err(Failure::invalid(format!(
            "This gateway's store supports only one kind of ledger host, `{}`. A handover needs a \
             Supabase project, or its database, that both kinds use.",
            organization.ledger.at(call.at)
        ))),
    }
}
