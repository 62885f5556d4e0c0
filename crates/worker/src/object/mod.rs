//! The Durable Object of an organization: its cell, its ledger and its audit chain in one place.
//!
//! It is the shared admission over the shared ledger, with one node that is the object itself; an
//! isolate asks it by a call (`wire.rs`), whose answer the platform holds back until what it wrote is
//! durable. Evicted from memory it loses the cell only: holds under
//! way then settle from what is left, which never exceeds the cap.

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

/// The one node of an object.
pub(crate) const NODE: NodeId = NodeId::from_bytes([0; 16]);
/// Expired idempotency records are dropped this often.
const PURGED_EVERY: Duration = Duration::from_secs(3_600);
/// When more of them expired than go at once.
const PURGED_ON: Duration = Duration::from_secs(1);
/// When work that failed is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// See the module. `entry.mjs` shows it to the runtime.
#[wasm_bindgen]
pub struct OrganizationObject {
    /// A panic leaves nothing half-done behind: see `store.rs`.
    parts: AssertUnwindSafe<Parts>,
}

struct Parts {
    state: State,
    mirror: SupabaseMirror,
    opened: RefCell<Option<Opened>>,
    /// Whether this life of the object looked for what an earlier one left to be done.
    has_looked: Cell<bool>,
}

#[derive(Clone)]
struct Opened {
    store: ObjectStore,
    cells: LocalCells<ObjectStore, EdgeClock>,
}

#[wasm_bindgen]
impl OrganizationObject {
    /// An object, at the beginning of one of its lives.
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
    /// That it is no question, or no organization.
    pub async fn ask(&self, organization: String, question: String) -> Result<String, JsError> {
        let (organization, ask) = (organization.parse()?, serde_json::from_str(&question)?);
        Ok(AssertUnwindSafe(self.answer_and_cache(organization, ask)).await?)
    }

    /// Does what its alarm was set for.
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
        let is_news = matches!(
            ask,
            Ask::Settle(..) | Ask::Append(_) | Ask::AppendOnce(_) | Ask::ReviveReport(..)
        );
        let opened = self.opened();
        let answer = match &opened {
            Ok(opened) => self.answer_catching_panic(opened, organization, ask).await,
            Err(fault) => said::<()>(Err(fault.clone().into())),
        };
        let is_behind = match &opened {
            Ok(opened) if !self.parts.has_looked.replace(true) => self.is_behind(opened),
            Ok(_) => false,
            Err(_) => true,
        };
        let mirror = &self.parts.mirror;
        if ((is_news && mirror.is_to_be_awaited()) || is_behind)
            && self.wake_within(MIRRORED_AFTER).await
        {
            mirror.await_alarm();
        }
        answer
    }

    /// An alarm that fails is given up after some attempts: this one never does.
    async fn alarmed(&self) {
        let work = AssertUnwindSafe(self.work_off()).catch_unwind().await;
        let next = match work {
            Ok(Ok(next)) => next,
            Ok(Err(fault)) => {
                tracing::error!(cause = fault.cause, "the object's work waits");
                Some(AGAIN)
            }
            // The panic's message is in the log already.
            Err(_panic) => Some(AGAIN),
        };
        if let Some(delay) = next {
            self.wake_within(delay).await;
        }
    }

    /// The storage; a failure to open it is no lasting one.
    fn opened(&self) -> Result<Opened, Fault> {
        if let Some(opened) = self.parts.opened.borrow().clone() {
            return Ok(opened);
        }
        let store = ObjectStore::open(&self.parts.state.storage())?;
        let opened = Opened { cells: LocalCells::new(store.clone(), EdgeClock, NODE), store };
        self.parts.opened.replace(Some(opened.clone()));
        Ok(opened)
    }

    /// Whether there is work that an alarm should have been set for: one that could not be set, or was
    /// given up, is set by whatever is asked next.
    fn is_behind(&self, opened: &Opened) -> bool {
        self.parts.mirror.is_behind(&opened.store) || opened.store.keeps_any().unwrap_or(true)
    }

    /// What the alarm is for; after how long there is more of it.
    async fn work_off(&self) -> Result<Option<Duration>, Fault> {
        let Opened { store, cells } = self.opened()?;
        // Voids that failed here.
        let tended = cells.tend().await.map(|()| None);
        let tended = tended.unwrap_or_else(|fault| {
            tracing::error!(cause = fault.cause, "voiding failed");
            Some(AGAIN)
        });
        let more = [tended, self.parts.mirror.tell(&store).await, purge(&store).await];
        Ok(more.into_iter().flatten().min())
    }

    /// A panic is an answer, too: whoever asks gets it at once, and the next one is served.
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
                said::<()>(Err(fault.into()))
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
                said::<()>(Err(Refused::Denied(Denied::KeyRevoked, None)))
            }
            Ask::Admit(charge) => {
                // No clock ticks in an object: its upkeep comes with its requests.
                if let Err(fault) = cells.tend().await {
                    tracing::warn!(cause = fault.cause, "upkeep of an object's cell failed");
                }
                said(admit(opened, organization, &charge).await.map_err(Refused::from))
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
                    self.wake_within(AGAIN).await;
                }
                if let (Ok(settled), Some(claim)) = (&settled, claim)
                    && settled.counts()
                {
                    cells.finish(organization, claim.key, usage);
                }
                said(settled.map_err(Refused::from))
            }
            Ask::Release(hold, claim) => {
                cells.release(organization, hold, claim);
                said(Ok(()))
            }
            Ask::Finish(key, usage) => {
                cells.finish(organization, key, usage);
                said(Ok(()))
            }
            Ask::Void(usage) => {
                // One that is not there leaves its number behind for a day.
                self.wake_within(Duration::from_secs(KEPT_SECS)).await;
                said(told(cells.void(organization, usage).await))
            }
            Ask::Usage(at, in_force, grouping) => {
                said(told(store.usage(organization, at, in_force, grouping).await))
            }
            Ask::Receipt(usage) => said(told(store.receipt(usage).await)),
            Ask::Kept(key) => said(told(store.kept(organization, &key, EdgeClock.now()).await)),
            Ask::Seal(rule) => said(told(store.seal(organization, rule, EdgeClock.agreed()))),
            Ask::TakeReport => said(told(store.take_report(organization, EdgeClock.now()))),
            Ask::AnswerReport(identifier, next) => {
                said(told(store.answer_report(&identifier, &next, EdgeClock.now())))
            }
            Ask::Reports(window) => said(told(store.reports(organization, window))),
            Ask::ReportsIn(state, after, limit) => {
                said(told(store.reports_in(state, &after, limit)))
            }
            Ask::Report(identifier) => said(told(store.report(organization, &identifier))),
            Ask::ReviveReport(identifier, audit) => {
                said(told(store.revive_report(organization, &identifier, *audit, EdgeClock.now())))
            }
            Ask::ReportSums(limit) => said(told(store.report_sums(organization, limit))),
            Ask::Alerts(limit) => said(told(store.alerts(organization, limit))),
            Ask::Append(records) => {
                let records = records.into_iter().map(|record| (organization, record)).collect();
                said(told(store.append(records).await))
            }
            Ask::AppendOnce(rows) => said(told(store.append_once(organization, rows))),
            Ask::Entries(after, limit) => {
                said(told(store.entries(organization, after, limit).await))
            }
            Ask::Head => said(told(store.head(organization).await)),
            Ask::Checkpoint => said(told(store.checkpoint(organization).await)),
            Ask::Prune(before, now) => said(told(store.prune(organization, before, now).await)),
        }
    }

    /// Sees to it that the alarm rings after this delay at the latest; whether it will. What it is for
    /// does not depend on it: whatever happens next sets it again.
    async fn wake_within(&self, delay: Duration) -> bool {
        let storage = self.parts.state.storage();
        let wanted = EdgeClock.now().plus(delay).micros() / 1_000;
        let set = match storage.get_alarm().await {
            Ok(Some(set)) if set <= wanted => Ok(()),
            Ok(_) => storage.set_alarm(delay).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &set {
            tracing::error!(cause = %error, "no alarm could be set");
        }
        set.is_ok()
    }
}

/// Admits a request. What is kept of an idempotency key that it claims is read once it is in flight, so
/// that nobody settles under it after.
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

/// Drops idempotency records that expired; after how long there are more.
async fn purge(store: &ObjectStore) -> Option<Duration> {
    let left = match store.purge_kept(EdgeClock.now()).await {
        Ok(purged) if purged >= PURGED_MAX => return Some(PURGED_ON),
        Ok(_) => store.keeps_any(),
        Err(fault) => Err(fault),
    };
    match left {
        Ok(false) => None,
        Ok(true) => Some(PURGED_EVERY),
        Err(fault) => {
            tracing::error!(cause = fault.cause, "purging idempotency keys failed");
            Some(PURGED_EVERY)
        }
    }
}

/// A test asks for the usage of this instant to see what becomes of a panic.
#[cfg(feature = "panic-trigger")]
fn panic_trigger(ask: &Ask) {
    if let Ask::Usage(at, _, _) = ask {
        assert!(at.secs() != 13, "a test asked for it");
    }
}

fn told<T>(outcome: Result<T, Fault>) -> Answer<T> {
    outcome.map_err(Refused::Fault)
}

fn said<T: Serialize>(answer: Answer<T>) -> serde_json::Result<String> {
    serde_json::to_string(&answer)
}
