//! `POST /admin/v1/organizations`.

use driftlock_domain::id::OrganizationId;
use driftlock_domain::ledger_host::LedgerHost;
use driftlock_domain::organization::{Organization, OrganizationPatch, OrganizationStatus};
use driftlock_domain::quota::QuotaOverride;
use http::StatusCode;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input;
use super::view::OrganizationView;
use super::{customer, valid};
use crate::ports::{Directory, Platform, id_entropy};
use crate::reply;

pub(in super::super) async fn create<P: Platform>(mut call: AdminCall<'_, P>) -> Reply<P> {
    let body = call.body().await?;
    let patch: OrganizationPatch = input::json(&body)?;
    let Some(name) = &patch.name else {
        return Err(Failure::invalid("`name` is missing: 1 to 200 printable characters."));
    };
    let (gateway, config) = (call.gateway, &call.gateway.shared.config);
    let mut organization = Organization {
        id: OrganizationId::make(call.at, id_entropy(&gateway.entropy)),
        name: input::name(name)?,
        plan: config.metering.default_plan.clone(),
        status: OrganizationStatus::Active,
        quota: QuotaOverride::default(),
        requests_per_minute: None,
        stripe_customer_id: None,
        contract: None,
        purchases: None,
        created_at: call.at,
        ledger: LedgerHost::of(P::LEDGER),
    };
    patch.clone().apply(&mut organization);
    valid::check(&organization, config)?;
    let details = valid::audited(&patch, None, &organization);
    let audit = call.audit("organization.create", organization.id.to_string(), &details);
    if let Err(fault) = gateway.directory.create_organization(&organization, audit).await {
        return Err(customer::taken(&call, &organization, fault).await);
    }
    gateway.shared.organizations.invalidate(&organization.id);
    let view = OrganizationView::of(organization, config, call.at);
    Ok(reply::json::<P>(StatusCode::CREATED, &view)?)
}
