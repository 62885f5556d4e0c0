//! `GET /admin/v1/organizations`.

use http::StatusCode;

use super::super::call::{AdminCall, Reply};
use super::super::input::{List, Query};
use super::view::OrganizationView;
use crate::ports::{Directory, Page, Platform};
use crate::reply;

pub(in super::super) async fn list<P: Platform>(call: AdminCall<'_, P>) -> Reply<P> {
    let Page { after, limit } = Query::of(&call.head.uri, &["limit", "cursor"])?.page()?;
    let page = Page { after, limit: limit + 1 };
    let rows = call.gateway.directory.organizations(page).await?;
    let config = &call.gateway.shared.config;
    let list =
        List::cut(rows, limit, |row| row.id).map(|row| OrganizationView::of(row, config, call.at));
    Ok(reply::json::<P>(StatusCode::OK, &list)?)
}
