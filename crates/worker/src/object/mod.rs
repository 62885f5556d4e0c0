//! The Durable Object of an organization: its cell, ledger and audit chain in one place.
//!
//! The object runs the shared admission over the shared ledger, with itself as the only node. An
//! isolate calls it (`wire.rs`); the platform delays the answer until the writes are durable. An
//! eviction from memory loses only the cell: requests in progress then settle from the units that
//! are left, which never exceeds the cap.

mod mirror;
mod ports;
mod revoked;
mod schema;
mod settler;
mod sql;
mod store;

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use driftlock_domain::cell::{Admitted, Charge};
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{NodeId, OrganizationId};
use driftlock_domain::idempotency::{KEPT_SECS, Kept};
use driftlock_gateway::LocalCells;
use driftlock_gateway::ports::{Admission, AuditLog, Clock, Refusal, UsageRecords};
use driftlock_sqlite_core::PURGED_MAX;
use futures_util::FutureExt;
use serde::Serialize;
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::worker_sys::DurableObjectState;
use worker::{Env, State};

use crate::clock::EdgeClock;
use crate::wire::{Answer, Ask, Denied, Refused};
use mirror::{MIRRORED_AFTER, SupabaseMirror};
use store::ObjectStore;

/// The node id of every object: it is the only node of its organization.
pub(crate) const NODE: NodeId = NodeId::from_bytes([0; 16]);
/// How often expired idempotency records are purged.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);
/// After how long purging continues if more expired than one run purges.
const PURGE_CONTINUES_AFTER: Duration = Duration::from_secs(1);
/// After how long failed work is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// See the module. `entry.mjs` exports it to the runtime.
#[wasm_bindgen]
pub struct OrganizationObject {
    /// Unwind-safe, because a panic rolls back: see `store.rs`.
    parts: AssertUnwindSafe<Parts>,
}

struct Parts {
    state: State,
    mirror: SupabaseMirror,
    opened: RefCell<Option<Opened>>,
    /// Whether the object has looked for unfinished work since it was loaded into memory.
    has_looked: Cell<bool>,
}

#[derive(Clone)]
struct Opened {
    store: ObjectStore,
    cells: LocalCells<ObjectStore, EdgeClock>,
}

#[wasm_bindgen]
impl OrganizationObject {
    /// Called by the runtime when it loads the object into memory.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new(state: DurableObjectState, env: Env) -> Self {
        let mirror = SupabaseMirror::of(&env);
        let (opened, has_looked) = (RefCell::default(), Cell::new(false));
        Self { parts: AssertUnwindSafe(Parts { state: state.into(), mirror, opened, has_looked }) }
    }

    /// Answers a question (`wire.rs`) to this organization's object.
    ///
    /// # Errors
    /// An invalid question or organization id.
    pub async fn ask(&self, organization: String, question: String) -> Result<String, JsError> {
        let (organization, ask) = (organization.parse()?, serde_json::from_str(&question)?);
        Ok(AssertUnwindSafe(self.answer_and_cache(organization, ask)).await?)
    }

    /// Runs the work for which the alarm was set.
    pub async fn alarm(&self) {
        AssertUnwindSafe(self.alarmed()).await;
    }
}

impl OrganizationObject {
    async fn answer_and_cache(
        &self,
        organization: OrganizationId,
        ask: Ask,
    ) -> serde_json::Result<String> {
        let changes_mirror = matches!(
            ask,
            Ask::Settle(..) | Ask::Append(_) | Ask::AppendOnce(_) | Ask::ReviveReport(..)
        );
        let opened = self.opened();
        let answer = match &opened {
            Ok(opened) => self.answer_catching_panic(opened, organization, ask).await,
            Err(fault) => encode::<()>(Err(fault.clone().into())),
        };
        let is_behind = match &opened {
            Ok(opened) if !self.parts.has_looked.replace(true) => self.is_behind(opened),
            Ok(_) => false,
            Err(_) => true,
        };
        let mirror = &self.parts.mirror;
        if ((changes_mirror && mirror.needs_alarm()) || is_behind)
            && self.wake_within(MIRRORED_AFTER).await
        {
            mirror.alarm_set();
        }
        answer
    }

    /// Runs the alarm's work. It never fails: the platform gives up an alarm that failed several
    /// times.
    async fn alarmed(&self) {
        let work = AssertUnwindSafe(self.run_alarm_work()).catch_unwind().await;
        let next = match work {
            Ok(Ok(next)) => next,
            Ok(Err(fault)) => {
                tracing::error!(
                    error = fault.cause,
                    "work of the object's alarm failed, will retry"
                );
                Some(RETRY_AFTER)
            }
            // The panic's message is in the log already.
            Err(_panic) => Some(RETRY_AFTER),
        };
        if let Some(delay) = next {
            self.wake_within(delay).await;
        }
    }

    /// The opened storage. If opening fails, the next call tries again.
    fn opened(&self) -> Result<Opened, Fault> {
        if let Some(opened) = self.parts.opened.borrow().clone() {
            return Ok(opened);
        }
        let store = ObjectStore::open(&self.parts.state.storage())?;
        let opened = Opened { cells: LocalCells::new(store.clone(), EdgeClock, NODE), store };
        self.parts.opened.replace(Some(opened.clone()));
        Ok(opened)
    }

    /// Whether there is work that needs an alarm. The alarm may be missing, since setting it can
    /// fail and the platform may give it up; then the next call sets it.
    fn is_behind(&self, opened: &Opened) -> bool {
        self.parts.mirror.is_behind(&opened.store) || opened.store.keeps_any().unwrap_or(true)
    }

    /// Voids, ships to the mirror and purges; returns after how long to run again.
    async fn run_alarm_work(&self) -> Result<Option<Duration>, Fault> {
        let Opened { store, cells } = self.opened()?;
        // Repeats voids that failed in this object.
        let tended = cells.tend().await.map(|()| None);
        let tended = tended.unwrap_or_else(|fault| {
            tracing::error!(error = fault.cause, "could not void settlements, will retry");
            Some(RETRY_AFTER)
        });
        let more = [tended, self.parts.mirror.run(&store).await, purge(&store).await];
        Ok(more.into_iter().flatten().min())
    }

    /// Turns a panic into a fault, so that the caller is answered at once and the object survives.
    async fn answer_catching_panic(
        &self,
        opened: &Opened,
        organization: OrganizationId,
        ask: Ask,
    ) -> serde_json::Result<String> {
        let answer = self.answer(opened, organization, ask);
        match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(answer) => answer,
            // The panic's message is in the log already.
            Err(_panic) => {
                let fault = Fault::new(FaultKind::Internal, "an organization's object panicked");
                encode::<()>(Err(fault.into()))
            }
        }
    }

    async fn answer(
        &self,
        opened: &Opened,
        organization: OrganizationId,
        ask: Ask,
    ) -> serde_json::Result<String> {
        let Opened { store, cells } = opened;
        #[cfg(feature = "panic-trigger")]
        panic_trigger(&ask);
        match ask {
            Ask::Admit(charge) if store.is_revoked(charge.key, EdgeClock.now()) => {
                encode::<()>(Err(Refused::Denied(Denied::KeyRevoked, None)))
            }
            Ask::Admit(charge) => {
                // There are no background timers in an object, so requests run the cell's upkeep.
                if let Err(fault) = cells.tend().await {
                    tracing::warn!(error = fault.cause, "upkeep of the object's cell failed");
                }
                encode(admit(opened, organization, &charge).await.map_err(Refused::from))
            }
            Ask::Settle(settlement, terms) => {
                if let Some(terms) = terms {
                    store.know_if_new(organization, terms);
                }
                if settlement.claim.is_some() {
                    self.wake_within(Duration::from_secs(KEPT_SECS)).await;
                }
                let (claim, usage) = (settlement.claim, settlement.usage);
                let settled = cells.settle(*settlement).await;
                if settled.is_err() {
                    self.wake_within(RETRY_AFTER).await;
                }
                if let (Ok(settled), Some(claim)) = (&settled, claim)
                    && settled.counts()
                {
                    cells.finish(organization, claim.key, usage);
                }
                encode(settled.map_err(Refused::from))
            }
            Ask::Release(hold, claim) => {
                cells.release(organization, hold, claim);
                encode(Ok(()))
            }
            Ask::Finish(key, usage) => {
                cells.finish(organization, key, usage);
                encode(Ok(()))
            }
            Ask::Void(usage) => {
                // The void of a settlement that is not there keeps a record for a day; the alarm
                // purges it.
                self.wake_within(Duration::from_secs(KEPT_SECS)).await;
                encode_outcome(cells.void(organization, usage).await)
            }
            Ask::Usage(at, in_force, grouping) => {
                encode_outcome(store.usage(organization, at, in_force, grouping).await)
            }
            Ask::Receipt(usage) => encode_outcome(store.receipt(usage).await),
            Ask::Kept(key) => encode_outcome(store.kept(organization, &key, EdgeClock.now()).await),
            Ask::Seal(rule) => encode_outcome(store.seal(organization, rule, EdgeClock.agreed())),
            Ask::TakeReport => encode_outcome(store.take_report(organization, EdgeClock.now())),
            Ask::AnswerReport(identifier, next) => {
                encode_outcome(store.answer_report(&identifier, &next, EdgeClock.now()))
            }
            Ask::Reports(window) => encode_outcome(store.reports(organization, window)),
            Ask::ReportsIn(state, after, limit) => {
                encode_outcome(store.reports_in(state, &after, limit))
            }
            Ask::Report(identifier) => encode_outcome(store.report(organization, &identifier)),
            Ask::ReviveReport(identifier, audit) => encode_outcome(store.revive_report(
                organization,
                &identifier,
                *audit,
                EdgeClock.now(),
            )),
            Ask::ReportSums(limit) => encode_outcome(store.report_sums(organization, limit)),
            Ask::Alerts(limit) => encode_outcome(store.alerts(organization, limit)),
            Ask::Append(records) => {
                let records = records.into_iter().map(|record| (organization, record)).collect();
                encode_outcome(store.append(records).await)
            }
            Ask::AppendOnce(rows) => encode_outcome(store.append_once(organization, rows)),
            Ask::Entries(after, limit) => {
                encode_outcome(store.entries(organization, after, limit).await)
            }
            Ask::Head => encode_outcome(store.head(organization).await),
            Ask::Checkpoint => encode_outcome(store.checkpoint(organization).await),
            Ask::Prune(before, now) => encode_outcome(store.prune(organization, before, now).await),
        }
    }

    /// Sets the alarm so that it runs after this delay at the latest; returns whether it is set. If
    /// setting fails, a later call sets it.
    async fn wake_within(&self, delay: Duration) -> bool {
        let storage = self.parts.state.storage();
        let wanted = EdgeClock.now().plus(delay).micros() / 1_000;
        let set = match storage.get_alarm().await {
            Ok(Some(set)) if set <= wanted => Ok(()),
            Ok(_) => storage.set_alarm(delay).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &set {
            tracing::error!(%error, "could not set the object's alarm");
        }
        set.is_ok()
    }
}

/// Admits a request. The record of an idempotency key is read after the request claimed the key, so
/// that no other request can settle under it in between.
async fn admit(
    opened: &Opened,
    organization: OrganizationId,
    charge: &Charge,
) -> Result<(Admitted, Option<Kept>), Refusal> {
    let Opened { store, cells } = opened;
    let admitted = cells.admit(organization, charge).await?;
    let key = charge.hold.as_ref().and_then(|ask| ask.claim);
    let (Some(hold), Some(key)) = (admitted.hold, key) else { return Ok((admitted, None)) };
    match store.kept(organization, &key, EdgeClock.now()).await {
        Ok(kept) => Ok((admitted, kept)),
        Err(fault) => {
            cells.release(organization, hold, Some(key));
            Err(Refusal::Fault(fault))
        }
    }
}

/// Purges expired idempotency records; returns after how long to purge again.
async fn purge(store: &ObjectStore) -> Option<Duration> {
    let left = match store.purge_kept(EdgeClock.now()).await {
        Ok(purged) if purged >= PURGED_MAX => return Some(PURGE_CONTINUES_AFTER),
        Ok(_) => store.keeps_any(),
        Err(fault) => Err(fault),
    };
    match left {
        Ok(false) => None,
        Ok(true) => Some(PURGE_EVERY),
        Err(fault) => {
            tracing::error!(error = fault.cause, "could not purge idempotency keys, will retry");
            Some(PURGE_EVERY)
        }
    }
}

/// Panics if a test asks for the usage of this instant.
#[cfg(feature = "panic-trigger")]
fn panic_trigger(ask: &Ask) {
    if let Ask::Usage(at, _, _) = ask {
        assert!(at.secs() != 13, "a test asked for it");
    }
}

/// Encodes the outcome of a question that is never denied.
fn encode_outcome<T: Serialize>(outcome: Result<T, Fault>) -> serde_json::Result<String> {
    encode(outcome.map_err(Refused::Fault))
}

fn encode<T: Serialize>(answer: Answer<T>) -> serde_json::Result<String> {
    serde_json::to_string(&answer)
}
