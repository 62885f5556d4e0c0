//! `GET /admin/v1/organizations/{id}/audit/verify?head=SEQ:HASH`.

use std::pin::pin;

use driftlock_domain::audit::{AuditHead, Verifier};
use futures_util::TryStreamExt;
use http::StatusCode;

use super::super::call::{AdminCall, Reply};
use super::super::input::Query;
use crate::ports::{AuditLog, Platform};
use crate::reply;

pub(in super::super) async fn verify<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let stated: Option<AuditHead> = Query::of(&call.head.uri, &["head"])?.get("head")?;
    let organization = call.organization(id).await?;
    call.gateway.write_queued_audit().await;
    let head = call.gateway.audit.head(organization.id).await?;
    let mut verifier = Verifier::new(AuditHead::EMPTY, stated);
    let mut pages = pin!(super::pages(call.gateway.clone(), organization.id, head.seq));
    while let Some(entries) = pages.try_next().await? {
        entries.iter().for_each(|entry| verifier.step(entry));
    }
    Ok(reply::json::<P>(StatusCode::OK, &verifier.finish())?)
}
