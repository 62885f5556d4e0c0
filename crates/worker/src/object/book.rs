//! The book of record, which an object tells of what it counted and wrote into its chain: a Supabase
//! project, where one is configured. Told receipts go after a while, since an object's storage ends.
//!
//! Telling comes after the commit and may be repeated; while the project is away everything stays here.

use std::cell::Cell;
use std::time::Duration;

use driftlock_domain::denial::Fault;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::shipment::{More, RECEIPTS_AFTER};
use driftlock_gateway::ports::Clock;
use driftlock_sqlite_core::shipment::Portion;
use driftlock_supabase::{SupabaseStore, Timing, store};
use worker::Env;

use super::store::ObjectStore;
use crate::clock::EdgeClock;
use crate::http_client::EdgeHttp;
use crate::isolate;

/// How long after something happened the project is told.
pub(super) const TOLD_AFTER: Duration = Duration::from_secs(15);
/// How long after a failure it is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// What the rest of a run that is too long waits.
const NEXT_RUN: Duration = Duration::from_secs(1);
/// Portions of one run.
const PORTIONS_MAX: usize = 20;
/// Told receipts are looked up here for so long, and in the project after.
const KEPT: Duration = Duration::from_secs(45 * 86_400);
/// For a call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct BookOfRecord {
    project: Option<SupabaseStore<EdgeHttp>>,
    is_awaited: Cell<bool>,
}

impl BookOfRecord {
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
        self.project.is_some() && !self.is_awaited.replace(true)
    }

    /// Tells what there is; after how long there is more to tell.
    pub(super) async fn tell(&self, store: &ObjectStore) -> Option<Duration> {
        let project = self.project.as_ref()?;
        self.is_awaited.set(false);
        let told = match store.organization() {
            Ok(Some(organization)) => tell(project, store, organization).await,
            Ok(None) => Ok(More::Nothing),
            Err(fault) => Err(fault),
        };
        match told {
            Ok(More::Nothing) => None,
            Ok(More::Later) => Some(RECEIPTS_AFTER),
            Ok(More::Now) => Some(NEXT_RUN),
            Err(fault) => {
                tracing::error!(cause = fault.cause, "the book of record waits");
                Some(TOLD_AGAIN)
            }
        }
    }
}

async fn tell(
    project: &SupabaseStore<EdgeHttp>,
    store: &ObjectStore,
    organization: OrganizationId,
) -> Result<More, Fault> {
    let mut portion = Portion::First;
    for _ in 0..PORTIONS_MAX {
        let now = EdgeClock.now();
        let shipment = store.shipment(organization, portion, now)?;
        if !shipment.is_empty() {
            project.ship(organization, &shipment).await?;
            store.shipped(&shipment.cursor)?;
        }
        if shipment.more != More::Now {
            store.remove_receipts(now.minus(KEPT))?;
            return Ok(shipment.more);
        }
        portion = Portion::Next;
    }
    Ok(More::Now)
}
