//! `GET /admin/v1/organizations/{id}/audit/verify?head=SEQ:HASH&retention_days=DAYS`.

use driftlock_domain::audit::{AuditHead, Retention, Verdict, Verifier};
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::ledger_host::LedgerKind;
use http::StatusCode;

use super::super::call::{AdminCall, Failure, Reply};
use super::super::input::Query;
use super::{BEGINNINGS_MAX, Extent, Next, extent, next, removed};
use crate::ports::{AuditLog, Clock, Platform};
use crate::reply;

pub(in super::super) async fn verify<P: Platform>(call: AdminCall<'_, P>, id: &str) -> Reply<P> {
    let query = Query::of(&call.head.uri, &["head", "retention_days"])?;
    let stated: Option<AuditHead> = query.get("head")?;
    let days: Option<u32> = query.get("retention_days")?;
    let days = days.unwrap_or(call.gateway.shared.config.audit.retention_days);
    // Not at the edge: a Durable Object removes mirrored entries early when its storage runs low.
    let retention = (P::LEDGER == LedgerKind::Leases)
        .then(|| Retention { days, now: call.gateway.clock.now() });
    let organization = call.organization(id).await?;
    call.gateway.show_queued_audit().await;
    match verdict(&call.gateway.audit, organization.id, stated, retention).await? {
        Ok(verdict) => Ok(reply::json::<P>(StatusCode::OK, &verdict)?),
        Err(TooOld { stated, first }) => Err(Failure::invalid(format!(
            "`head`: entry {stated} was removed by retention, which kept {first} and later ones: \
             compare it with the export that stated it."
        ))),
    }
}

/// The stated head is before the checkpoint.
#[derive(Debug)]
pub(super) struct TooOld {
    stated: u64,
    /// The first entry that is kept.
    first: u64,
}

/// Verifies the log. Begins again when retention removes entries that were to be read next.
pub(super) async fn verdict(
    log: &impl AuditLog,
    organization: OrganizationId,
    stated: Option<AuditHead>,
    retention: Option<Retention>,
) -> Result<Result<Verdict, TooOld>, Fault> {
    for _ in 0..BEGINNINGS_MAX {
        let extent = extent(log, organization).await?;
        let first = extent.checkpoint.seq + 1;
        if let Some(stated) = stated.filter(|stated| stated.seq + 1 < first) {
            return Ok(Err(TooOld { stated: stated.seq, first }));
        }
        if let Some(verdict) = walk(log, organization, extent, stated, retention).await? {
            return Ok(Ok(verdict));
        }
    }
    Err(removed())
}

async fn walk(
    log: &impl AuditLog,
    organization: OrganizationId,
    extent: Extent,
    stated: Option<AuditHead>,
    retention: Option<Retention>,
) -> Result<Option<Verdict>, Fault> {
    let mut verifier = Verifier::new(organization, extent.checkpoint, stated, retention);
    let mut after = 0;
    loop {
        let Next::Entries(entries) = next(log, organization, extent, after).await? else {
            return Ok(None);
        };
        let Some(last) = entries.last() else { return Ok(Some(verifier.finish())) };
        after = last.seq;
        entries.iter().for_each(|entry| verifier.step(entry));
    }
}
