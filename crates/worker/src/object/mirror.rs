//! The book of record, which an object tells of what it counted and wrote into its chain: a Supabase
//! project, where one is configured. Told receipts go after a while, since an object's storage ends, and
//! at once, as told audit entries do, where there is little of it left; where nobody is told receipts go,
//! too, after more than a year.
//!
//! Telling comes after the commit and may be repeated; while the project is away everything stays here.

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

/// How long after something happened the project is told.
pub(super) const MIRRORED_AFTER: Duration = Duration::from_secs(15);
/// How long after a failure it is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// What the rest of a run that is too long waits.
const NEXT_RUN: Duration = Duration::from_secs(1);
/// Portions of one run.
const PORTIONS_MAX: usize = 20;
const DAY: Duration = Duration::from_secs(86_400);
/// Told receipts are looked up here for so many days, and in the project after.
const KEPT_DAYS: u32 = 45;
/// Without a project they are for so many.
const KEPT_ALONE_DAYS: u32 = 400;
/// For a call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct SupabaseMirror {
    project: Option<SupabaseStore<EdgeHttp>>,
    is_awaited: Cell<bool>,
}

impl SupabaseMirror {
    pub(super) fn of(env: &Env) -> Self {
        let access = isolate::supabase(env).unwrap_or_else(|error| {
            tracing::error!(error, "the book of record is not told");
            None
        });
        let project = access.map(|access| store(EdgeHttp(TIMEOUT), access, Timing::Database));
        Self { project, is_awaited: Cell::new(false) }
    }

    /// Whether something that happened has still to be told, and no alarm is set for it yet.
    pub(super) fn is_to_be_awaited(&self) -> bool {
        self.project.is_some() && !self.is_awaited.get()
    }

    /// An alarm is set.
    pub(super) fn await_alarm(&self) {
        self.is_awaited.set(true);
    }

    /// Whether an earlier life of this object left anything to be told, or receipts have become old.
    pub(super) fn is_behind(&self, store: &ObjectStore) -> bool {
        let is_untold = self.project.is_some() && store.has_untold().unwrap_or(true);
        is_untold || store.has_receipts(self.receipts_since()).unwrap_or(true)
    }

    fn receipts_since(&self) -> Timestamp {
        let days = if self.project.is_some() { KEPT_DAYS } else { KEPT_ALONE_DAYS };
        EdgeClock.now().minus(DAY * days)
    }

    /// Tells what there is, and removes old receipts; after how long there is more to do.
    pub(super) async fn tell(&self, store: &ObjectStore) -> Option<Duration> {
        self.is_awaited.set(false);
        let told = match store.organization() {
            Ok(Some(organization)) => self.tell_and_remove(store, organization).await,
            Ok(None) => Ok(None),
            Err(fault) => Err(fault),
        };
        told.unwrap_or_else(|fault| {
            tracing::error!(cause = fault.cause, "the book of record waits");
            Some(TOLD_AGAIN)
        })
    }

    async fn tell_and_remove(
        &self,
        store: &ObjectStore,
        organization: OrganizationId,
    ) -> Result<Option<Duration>, Fault> {
        let (more, mirror) = match &self.project {
            Some(project) => (tell(project, store, organization).await?, Mirror::Supabase),
            None => (More::Nothing, Mirror::None),
        };
        let next = match more {
            More::Now => return Ok(Some(NEXT_RUN)),
            More::Later => Some(RECEIPTS_AFTER),
            More::Nothing => None,
        };
        let now = EdgeClock.now();
        if self.project.is_none() && store.is_short_of_room() {
            tracing::error!(%organization, "an object has little room left, and nobody to tell");
        }
        for _ in 0..PORTIONS_MAX {
            let at_once = self.project.is_some() && store.is_short_of_room();
            let before = if at_once { now } else { self.receipts_since() };
            let are_more = store.remove_receipts(before, mirror)?;
            let pruned = if at_once { store.prune_mirrored(organization, now)? } else { 0 };
            if !are_more && pruned == 0 {
                return Ok(next);
            }
        }
        Ok(Some(NEXT_RUN))
    }
}

async fn tell(
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
