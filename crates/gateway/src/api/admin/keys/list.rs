//! `GET /admin/v1/organizations/{id}/keys`.

use http::StatusCode;

use super::super::call::{AdminCall, Reply};
use super::super::input::{List, Query};
use crate::ports::{Directory, Page, Platform};
use crate::reply;

pub(in super::super) async fn list<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let Page { after, limit } = Query::of(&call.head.uri, &["limit", "cursor"])?.page()?;
    let organization = call.organization(id).await?;
    let page = Page { after, limit: limit + 1 };
    let rows = call.gateway.directory.keys(organization.id, page).await?;
    let list = List::cut(rows, limit, |row| row.id);
    Ok(reply::json::<P>(StatusCode::OK, &list)?)
}
