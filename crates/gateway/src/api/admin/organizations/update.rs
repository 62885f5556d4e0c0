//! `PATCH /admin/v1/organizations/{id}`: absent fields stay unchanged, `null` clears a field.

use driftlock_domain::organization::OrganizationPatch;
use http::StatusCode;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input;
use super::view::OrganizationView;
use super::{customer, valid};
use crate::ports::{Directory, Platform};
use crate::reply;

pub(in super::super) async fn update<P: Platform>(
    mut call: AdminCall<'_, P>,
    id: &str,
) -> Reply<P> {
    let body = call.body().await?;
    let patch: OrganizationPatch = input::json(&body)?;
    let (gateway, config) = (call.gateway, &call.gateway.shared.config);
    let known = call.organization(id).await?;
    let mut wanted = known.clone();
    patch.clone().apply(&mut wanted);
    valid::check(&wanted, config)?;
    let details = valid::audited(&patch, Some(&known), &wanted);
    let audit = call.audit("organization.update", wanted.id.to_string(), &details);
    let relinked = patch.stripe_customer_id.clone().flatten();
    let updated = gateway.directory.patch_organization(wanted.id, patch, audit).await;
    let updated = match updated {
        Ok(updated) => updated,
        Err(fault) => return Err(customer::taken(&call, &wanted, fault).await),
    };
    gateway.shared.organizations.invalidate(&wanted.id);
    let updated = updated.ok_or_else(|| Failure::not_found("organization"))?;
    gateway.note_change(&known, &updated).await;
    if let Some(customer) = relinked {
        // Events of this customer may have arrived before: process them for this organization now.
        gateway.process_soon(&customer);
    }
    Ok(reply::json::<P>(StatusCode::OK, &OrganizationView::of(updated, config, call.at))?)
}
