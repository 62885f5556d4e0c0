//! `GET /admin/v1/organizations/{id}/audit/verify?head=SEQ:HASH`.

use std::pin::pin;

use driftlock_domain::audit::{AuditHead, Verifier};
use futures_util::TryStreamExt;
use http::StatusCode;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input::Query;
use crate::ports::{AuditLog, Platform};
use crate::reply;

pub(in super::super) async fn verify<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let stated: Option<AuditHead> = Query::of(&call.head.uri, &["head"])?.get("head")?;
    let organization = call.organization(id).await?;
    call.gateway.show_queued_audit().await;
    let head = call.gateway.audit.head(organization.id).await?;
    let checkpoint = call.gateway.audit.checkpoint(organization.id).await?;
    if let Some(stated) = stated.filter(|stated| stated.seq < checkpoint.seq) {
        let (seq, first) = (stated.seq, checkpoint.seq + 1);
        return Err(Failure::invalid(format!(
            "`head`: entry {seq} was removed by retention, which kept {first} and later ones: hold \
             it against the export that stated it."
        )));
    }
    let mut verifier = Verifier::new(checkpoint, stated);
    let mut pages = pin!(super::pages(call.gateway.clone(), organization.id, head.seq));
    while let Some(entries) = pages.try_next().await? {
        entries.iter().for_each(|entry| verifier.step(entry));
    }
    Ok(reply::json::<P>(StatusCode::OK, &verifier.finish())?)
}
