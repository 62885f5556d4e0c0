//! `GET /admin/v1/organizations/{id}`.

use http::StatusCode;

use super::super::call::{AdminCall, Reply};
use super::view::OrganizationView;
use crate::ports::{EventInbox, Platform};
use crate::reply;

pub(in super::super) async fn show<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let organization = call.organization(id).await?;
    let billing_state = match &organization.stripe_customer_id {
        Some(customer) => Some(call.gateway.inbox.customer(customer).await?.billing_state),
        None => None,
    };
    let view = OrganizationView::of(organization, &call.gateway.shared.config, call.at);
    let view = view.with_billing(billing_state);
    Ok(reply::json::<P>(StatusCode::OK, &view)?)
}
