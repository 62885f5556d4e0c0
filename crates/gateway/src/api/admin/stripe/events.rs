//! `GET /admin/v1/stripe/events?state=dead` lists the event inbox in order of id;
//! `GET /admin/v1/stripe/events/{id}` shows one event's state.

use driftlock_domain::stripe::delivery::DeliveryState;
use http::StatusCode;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input::{List, Query};
use crate::ports::{EventInbox, Page, Platform};
use crate::reply;

pub(in super::super) async fn events<P: Platform>(call: AdminCall<'_, P>) -> Reply<P> {
    let query = Query::of(&call.head.uri, &["limit", "cursor", "state"])?;
    let state: Option<DeliveryState> = query.get("state")?;
    let Page { after, limit } = query.page::<String>()?;
    let rows = call.gateway.inbox.events(state, Page { after, limit: limit + 1 }).await?;
    let list = List::cut(rows, limit, |row| row.id.clone());
    Ok(reply::json::<P>(StatusCode::OK, &list)?)
}

pub(in super::super) async fn event<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    Query::of(&call.head.uri, &[])?;
    let found = call.gateway.inbox.event(id).await?;
    let entry = found.ok_or_else(|| Failure::not_found("event"))?;
    Ok(reply::json::<P>(StatusCode::OK, &entry)?)
}
