//! The Durable Object of an organization: its cell, its ledger and its audit chain in one place.
//!
//! It is the shared admission over the shared ledger, with one node that is the object itself; an
//! isolate asks it by `fetch` (`wire.rs`). Evicted from memory it loses the cell only: holds under
//! way then settle from what is left, which never exceeds the cap.

mod schema;
mod sql;
mod store;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{NodeId, OrganizationId};
use driftlock_domain::idempotency::KEPT_SECS;
use driftlock_gateway::LocalCells;
use driftlock_gateway::ports::{Admission, AuditLog, Clock, Ledger, UsageRecords};
use futures_util::FutureExt;
use serde::Serialize;
use worker::{DurableObject, Env, Request, Response, State, durable_object};

use crate::clock::EdgeClock;
use crate::wire::{Answer, Ask, Refused};
use store::ObjectStore;

/// The one node of an object.
pub(crate) const NODE: NodeId = NodeId::from_bytes([0; 16]);
/// Expired idempotency records are dropped this often.
const PURGED_EVERY: Duration = Duration::from_secs(3_600);

/// See the module.
#[durable_object]
pub struct OrganizationObject {
    /// A panic leaves nothing half-done behind: see `store.rs`.
    parts: AssertUnwindSafe<Parts>,
}

struct Parts {
    state: State,
    opened: Result<Opened, Fault>,
}

struct Opened {
    store: ObjectStore,
    cells: LocalCells<ObjectStore, EdgeClock>,
}

impl DurableObject for OrganizationObject {
    fn new(state: State, _env: Env) -> Self {
        let opened = ObjectStore::open(&state.storage()).map(|store| {
            let cells = LocalCells::new(store.clone(), EdgeClock, NODE);
            Opened { store, cells }
        });
        Self { parts: AssertUnwindSafe(Parts { state, opened }) }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let organization = request.path().trim_start_matches('/').parse::<OrganizationId>();
        let Ok(organization) = organization else {
            return Response::error("the path is an organization's id", 400);
        };
        let ask = match serde_json::from_str(&request.text().await?) {
            Ok(ask) => ask,
            Err(error) => return Response::error(format!("no question: {error}"), 400),
        };
        let answer = match &self.parts.opened {
            Ok(opened) => self.answer_or_own_up(opened, organization, ask).await,
            Err(fault) => said::<()>(Err(fault.clone().into())),
        };
        Response::from_bytes(answer?)
    }

    async fn alarm(&self) -> worker::Result<Response> {
        // An alarm that fails is given up after some attempts: this one never does.
        if let Ok(opened) = &self.parts.opened {
            let left = match opened.store.purge_kept(EdgeClock.now()).await {
                Ok(_) => opened.store.keeps_any(),
                Err(fault) => Err(fault),
            };
            match left {
                Ok(false) => {}
                Ok(true) => self.purge_after(PURGED_EVERY).await,
                Err(fault) => {
                    tracing::error!(cause = fault.cause, "purging idempotency keys failed");
                    self.purge_after(PURGED_EVERY).await;
                }
            }
        }
        Response::empty()
    }
}

impl OrganizationObject {
    /// A panic is an answer, too: whoever asks gets it at once, and the next one is served.
    async fn answer_or_own_up(
        &self,
        opened: &Opened,
        organization: OrganizationId,
        ask: Ask,
    ) -> worker::Result<Vec<u8>> {
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
    ) -> worker::Result<Vec<u8>> {
        let Opened { store, cells } = opened;
        #[cfg(feature = "panic-trigger")]
        panic_trigger(&ask);
        match ask {
            Ask::Admit(charge) => {
                said(cells.admit(organization, &charge).await.map_err(Refused::from))
            }
            Ask::Settle(settlement, terms) => {
                if let Some(terms) = terms {
                    store.know_if_new(organization, terms);
                }
                if settlement.claim.is_some() {
                    self.purge_after(Duration::from_secs(KEPT_SECS)).await;
                }
                said(cells.settle(*settlement).await.map_err(Refused::from))
            }
            Ask::Release(hold, claim) => {
                cells.release(organization, hold, claim);
                said(Ok(()))
            }
            Ask::Finish(claim, usage) => {
                cells.finish(organization, claim, usage);
                said(Ok(()))
            }
            Ask::Void(usage) => said(told(store.void(organization, usage).await)),
            Ask::Usage(at, grouping) => said(told(store.usage(organization, at, grouping).await)),
            Ask::Receipt(usage) => said(told(store.receipt(usage).await)),
            Ask::Kept(key) => said(told(store.kept(organization, &key, EdgeClock.now()).await)),
            Ask::KeepAnswer(key, answer) => {
                said(told(store.keep_answer(organization, &key, &answer).await))
            }
            Ask::Seal(rule) => said(told(store.seal(organization, rule, EdgeClock.now()))),
            Ask::TakeReport => said(told(store.take_report(organization, EdgeClock.now()))),
            Ask::AnswerReport(identifier, next) => {
                said(told(store.answer_report(&identifier, &next, EdgeClock.now())))
            }
            Ask::Reports(window) => said(told(store.reports(organization, window))),
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

    /// Sees to it that idempotency records are purged, at a time that is set already or after this
    /// one. The settlement that it is for does not depend on it.
    async fn purge_after(&self, delay: Duration) {
        let storage = self.parts.state.storage();
        let set = match storage.get_alarm().await {
            Ok(None) => storage.set_alarm(delay).await,
            Ok(Some(_)) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = set {
            tracing::error!(cause = %error, "no alarm could be set");
        }
    }
}

/// A test asks for the usage of this instant to see what becomes of a panic.
#[cfg(feature = "panic-trigger")]
fn panic_trigger(ask: &Ask) {
    if let Ask::Usage(at, _) = ask {
        assert!(at.secs() != 13, "a test asked for it");
    }
}

fn told<T>(outcome: Result<T, Fault>) -> Answer<T> {
    outcome.map_err(Refused::Fault)
}

fn said<T: Serialize>(answer: Answer<T>) -> worker::Result<Vec<u8>> {
    serde_json::to_vec(&answer).map_err(worker::Error::from)
}
