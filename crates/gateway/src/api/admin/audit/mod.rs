//! An organization's audit log: `/admin/v1/organizations/{id}/audit`, `/export`, `/verify`.

pub(super) mod export;
pub(super) mod list;
pub(super) mod verify;

use driftlock_domain::audit::AuditEntry;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use futures_util::Stream;

use crate::gateway::Gateway;
use crate::ports::{AuditLog, Platform};

/// Entries read at a time: walks of any length take bounded memory.
const PAGE: usize = 1_000;

/// The log page by page up to entry `last`.
fn pages<P: Platform>(
    gateway: Gateway<P>,
    organization: OrganizationId,
    last: u64,
) -> impl Stream<Item = Result<Vec<AuditEntry>, Fault>> {
    futures_util::stream::try_unfold(0, move |after| {
        let gateway = gateway.clone();
        async move {
            if after >= last {
                return Ok(None);
            }
            let limit = usize::try_from(last - after).unwrap_or(PAGE).min(PAGE);
            let entries = gateway.audit.entries(organization, after, limit).await?;
            Ok(entries.last().map(|entry| entry.seq).map(|seq| (entries, seq)))
        }
    })
}
