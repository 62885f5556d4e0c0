//! `GET /admin/v1/organizations/{id}`.

use http::StatusCode;

use super::super::call::{AdminCall, Reply};
use super::view::OrganizationView;
use crate::ports::Platform;
use crate::reply;

pub(in super::super) async fn show<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let organization = call.organization(id).await?;
    let view = OrganizationView::of(organization, &call.gateway.shared.config);
    Ok(reply::json::<P>(StatusCode::OK, &view)?)
}
