//! `GET /admin/v1/organizations/{id}/audit/export`: NDJSON, one entry a line; the last line and
//! `X-Audit-Head` state the end that `verify` can be held against later.

use bytes::Bytes;
use driftlock_domain::audit::AuditEntry;
use driftlock_domain::denial::{Fault, FaultKind};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::json;

use super::super::call::{AdminCall, Reply};
use super::super::input::Query;
use crate::ports::{AuditLog, Platform, Upstream};

pub(in super::super) async fn export<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    Query::of(&call.head.uri, &[])?;
    let organization = call.organization(id).await?;
    call.gateway.show_queued_audit().await;
    let head = call.gateway.audit.head(organization.id).await?;
    let checkpoint = call.gateway.audit.checkpoint(organization.id).await?;
    let pages = super::pages(call.gateway.clone(), organization.id, head.seq);
    let lines = pages.and_then(|entries| std::future::ready(lines(&entries)));
    // Whoever reads it sees by its last line that it is whole.
    let last = Bytes::from(format!("{}\n", json!({ "checkpoint": checkpoint, "head": head })));
    let whole = lines.chain(stream::iter([Ok(last)]));
    let mut response = Response::new(P::Upstream::stream_body(whole));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    if let Ok(value) = HeaderValue::try_from(head.to_string()) {
        headers.insert("x-audit-head", value);
    }
    Ok(response)
}

fn lines(entries: &[AuditEntry]) -> Result<Bytes, Fault> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, entry)
            .map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))?;
        text.push(b'\n');
    }
    Ok(text.into())
}
