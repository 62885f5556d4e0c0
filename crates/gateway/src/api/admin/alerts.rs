//! `GET /admin/v1/organizations/{id}/alerts`: newest first.

use http::StatusCode;
use serde_json::json;

use super::call::{AdminCall, Reply};
use super::input::Query;
use crate::ports::{Alerts, Page, Platform};
use crate::reply;

pub(super) async fn alerts<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let page: Page<String> = Query::of(&call.head.uri, &["limit"])?.page()?;
    let organization = call.organization(id).await?;
    let rows = call.gateway.alerts.alerts(organization.id, page.limit).await?;
    Ok(reply::json::<P>(StatusCode::OK, &json!({ "data": rows, "next_cursor": null }))?)
}
