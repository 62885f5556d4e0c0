//! `GET /admin/v1/organizations/{id}/audit/export`: NDJSON, one entry on each line. The last line
//! and `X-Audit-Head` state the head, which can be passed to `verify` later.

use bytes::Bytes;
use driftlock_domain::audit::AuditEntry;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::OrganizationId;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::json;

use super::super::call::{AdminCall, Reply};
use super::super::input::Query;
use super::{BEGINNINGS_MAX, Extent, Next, extent, next, removed};
use crate::ports::{AuditLog, Platform, Upstream};

pub(in super::super) async fn export<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    Query::of(&call.head.uri, &[])?;
    let organization = call.organization(id).await?.id;
    call.gateway.show_queued_audit().await;
    let (extent, first) = begin(&call.gateway.audit, organization).await?;
    let Extent { checkpoint, head } = extent;
    let gateway = call.gateway.clone();
    let pages = pages(first, move |after| {
        let gateway = gateway.clone();
        async move { next(&gateway.audit, organization, extent, after).await }
    });
    let lines = pages.and_then(|entries| std::future::ready(lines(&entries)));
    // The last line shows the reader that the export is complete.
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

/// Reads the extent of the log and its first page, which begins at the extent's start.
pub(super) async fn begin(
    log: &impl AuditLog,
    organization: OrganizationId,
) -> Result<(Extent, Vec<AuditEntry>), Fault> {
    for _ in 0..BEGINNINGS_MAX {
        let extent = extent(log, organization).await?;
        if let Next::Entries(first) = next(log, organization, extent, 0).await? {
            return Ok((extent, first));
        }
    }
    Err(removed())
}

/// The first page and all pages after it. If retention removes entries meanwhile, the stream breaks
/// off, so that the last line never states entries that are missing.
pub(super) fn pages<F: Future<Output = Result<Next, Fault>>>(
    first: Vec<AuditEntry>,
    read: impl Fn(u64) -> F + Clone,
) -> impl Stream<Item = Result<Vec<AuditEntry>, Fault>> {
    stream::try_unfold(first, move |page| {
        let read = read.clone();
        async move {
            let Some(last) = page.last() else { return Ok(None) };
            match read(last.seq).await? {
                Next::Entries(following) => Ok(Some((page, following))),
                Next::Removed => Err(removed()),
            }
        }
    })
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
