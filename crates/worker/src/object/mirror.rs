//! The mirror of an object's usage and audit log in a Supabase project, if one is configured.
//!
//! Mirrored receipts are deleted after 45 days; if storage runs low, mirrored receipts and audit
//! entries are deleted immediately. Without a project, receipts are deleted after 400 days.
//!
//! The object ships after its commit and may ship the same rows again. While the project does not
//! answer, everything stays in the object.

use std::cell::Cell;
use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::shipment::{More, RECEIPTS_AFTER};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::Clock;
use driftlock_sqlite_core::shipment::{Mirror, Portion};
use driftlock_supabase::{SupabaseStore, Timing, store};
use worker::Env;

use super::store::ObjectStore;
use crate::clock::EdgeClock;
use crate::http_client::EdgeHttp;
use crate::isolate;

/// How long after a change the object ships it to the project.
pub(super) const MIRRORED_AFTER: Duration = Duration::from_secs(15);
/// After how long a failed shipment is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// After how long a run that reached its bound continues.
const NEXT_RUN: Duration = Duration::from_secs(1);
/// Most portions that one run ships, and most that it removes.
const PORTIONS_MAX: usize = 20;
const DAY: Duration = Duration::from_secs(86_400);
/// Days that a mirrored receipt stays in the object; afterwards it is looked up in the project.
const KEPT_DAYS: u32 = 45;
/// Days that a receipt stays without a project.
const KEPT_ALONE_DAYS: u32 = 400;
/// Bound of one call of the project.
const TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct SupabaseMirror {
    project: Option<SupabaseStore<EdgeHttp>>,
    has_alarm: Cell<bool>,
}

impl SupabaseMirror {
    pub(super) fn of(env: &Env) -> Self {
        let access = isolate::supabase(env).unwrap_or_else(|error| {
            tracing::error!(error, "Supabase mirror disabled");
            None
        });
        let project = access.map(|access| store(EdgeHttp(TIMEOUT), access, Timing::Database));
        Self { project, has_alarm: Cell::new(false) }
    }

    /// Whether a change needs an alarm: there is a project, and no alarm is set for it yet.
    pub(super) fn needs_alarm(&self) -> bool {
        self.project.is_some() && !self.has_alarm.get()
    }

    /// Records that an alarm is set.
    pub(super) fn alarm_set(&self) {
        self.has_alarm.set(true);
    }

    /// Whether the object has unshipped rows from before it was last evicted, or receipts to
    /// delete.
    pub(super) fn is_behind(&self, store: &ObjectStore) -> bool {
        let is_unshipped = self.project.is_some() && store.has_unshipped().unwrap_or(true);
        is_unshipped || store.has_receipts(self.receipts_since()).unwrap_or(true)
    }

    fn receipts_since(&self) -> Timestamp {
        let days = if self.project.is_some() { KEPT_DAYS } else { KEPT_ALONE_DAYS };
        EdgeClock.now().minus(DAY * days)
    }

    /// Ships what is not mirrored yet and deletes old receipts; returns after how long to run
    /// again.
    pub(super) async fn run(&self, store: &ObjectStore) -> Option<Duration> {
        self.has_alarm.set(false);
        let next = match store.organization() {
            Ok(Some(organization)) => self.ship_and_remove(store, organization).await,
            Ok(None) => Ok(None),
            Err(fault) => Err(fault),
        };
        next.unwrap_or_else(|fault| {
            tracing::error!(error = fault.cause, "Supabase mirror failed, will retry");
            Some(RETRY_AFTER)
        })
    }

    async fn ship_and_remove(
        &self,
        store: &ObjectStore,
        organization: OrganizationId,
    ) -> Result<Option<Duration>, Fault> {
        let (more, mirror) = match &self.project {
            Some(project) => (ship(project, store, organization).await?, Mirror::Supabase),
            None => (More::Nothing, Mirror::None),
        };
        let next = match more {
            More::Now => return Ok(Some(NEXT_RUN)),
            More::Later => Some(RECEIPTS_AFTER),
            More::Nothing => None,
        };
        let now = EdgeClock.now();
        if self.project.is_none() && store.is_short_of_room() {
            tracing::error!(
                %organization,
                "the object's storage is nearly full and there is no Supabase mirror",
            );
        }
        for _ in 0..PORTIONS_MAX {
            let is_urgent = self.project.is_some() && store.is_short_of_room();
            let before = if is_urgent { now } else { self.receipts_since() };
            let are_more = store.remove_receipts(before, mirror)?;
            let pruned = if is_urgent { store.prune_mirrored(organization, now)? } else { 0 };
            if !are_more && pruned == 0 {
                return Ok(next);
            }
        }
        Ok(Some(NEXT_RUN))
    }
}

async fn ship(
    project: &SupabaseStore<EdgeHttp>,
    store: &ObjectStore,
    organization: OrganizationId,
) -> Result<More, Fault> {
    let mut portion = Portion::First;
    for _ in 0..PORTIONS_MAX {
        let shipment = store.shipment(organization, portion, EdgeClock.now())?;
        if !shipment.is_empty() {
            project.ship(organization, &shipment).await?;
            store.shipped(&shipment.cursor)?;
        }
        if shipment.more != More::Now {
            return Ok(shipment.more);
        }
        portion = Portion::Next;
    }
    Ok(More::Now)
}
