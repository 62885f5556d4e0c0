//! `GET /admin/v1/organizations/{id}/audit`: oldest first.

use http::StatusCode;

use super::super::call::{AdminCall, Reply};
use super::super::input::{List, Query};
use crate::ports::{AuditLog, Page, Platform};
use crate::reply;

pub(in super::super) async fn list<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let Page { after, limit } = Query::of(&call.head.uri, &["limit", "cursor"])?.page()?;
    let organization = call.organization(id).await?;
    call.gateway.show_queued_audit().await;
    let after = after.unwrap_or(0);
    let rows = call.gateway.audit.entries(organization.id, after, limit + 1).await?;
    let list = List::cut(rows, limit, |row| row.seq);
    Ok(reply::json::<P>(StatusCode::OK, &list)?)
}
