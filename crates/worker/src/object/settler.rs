//! Group commit: settlements that arrive while one commit becomes durable form the next one. A lone
//! settlement commits at once; under load many share a transaction, its updates of the sums, and
//! the wait for the disk.
//!
//! If a group fails, each of its settlements is committed alone, so that one cannot fail the
//! others.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use futures_channel::oneshot;
use futures_util::future::select;
use wasm_bindgen_futures::spawn_local;
use worker::Delay;

use super::store::ObjectStore;

/// Most settlements of one commit.
const GROUP_MAX: usize = 256;
/// How long the next group waits until the one before is durable. If the storage fails, the
/// platform restarts the object.
const DURABLE_WITHIN: Duration = Duration::from_secs(2);

/// Settlements that wait for their commit.
#[derive(Default)]
pub(super) struct Queue {
    waiting: RefCell<Vec<Waiting>>,
    /// Whether a task is committing.
    runs: Cell<bool>,
}

struct Waiting {
    one: (Settlement, Timestamp),
    reply: oneshot::Sender<Result<Settled, Fault>>,
}

/// Settles in the next group.
pub(super) async fn settle(
    store: &ObjectStore,
    settlement: Settlement,
    now: Timestamp,
) -> Result<Settled, Fault> {
    let (reply, settled) = oneshot::channel();
    let queue = store.queue();
    queue.waiting.borrow_mut().push(Waiting { one: (settlement, now), reply });
    if !queue.runs.replace(true) {
        spawn_local(AssertUnwindSafe(run(store.clone())));
    }
    settled.await.unwrap_or_else(|_| {
        Err(Fault::new(FaultKind::Internal, "the settlement's commit was dropped"))
    })
}

async fn run(store: ObjectStore) {
    loop {
        let group: Vec<Waiting> = {
            let mut waiting = store.queue().waiting.borrow_mut();
            let group = waiting.len().min(GROUP_MAX);
            waiting.drain(..group).collect()
        };
        if group.is_empty() {
            store.queue().runs.set(false);
            return;
        }
        commit(&store, group);
        let patience = std::pin::pin!(Delay::from(DURABLE_WITHIN));
        select(std::pin::pin!(store.durable()), patience).await;
    }
}

fn commit(store: &ObjectStore, group: Vec<Waiting>) {
    let (all, replies): (Vec<_>, Vec<_>) =
        group.into_iter().map(|waiting| (waiting.one, waiting.reply)).unzip();
    let alone = if all.len() > 1 { all.clone() } else { Vec::new() };
    let outcomes = match together(store, all) {
        Err(_) if replies.len() > 1 => alone.into_iter().map(|one| lone(store, one)).collect(),
        Err(fault) => vec![Err(fault)],
        Ok(outcomes) => outcomes,
    };
    for (reply, outcome) in replies.into_iter().zip(outcomes) {
        // It fails if the caller is gone.
        let _ = reply.send(outcome);
    }
}

fn lone(store: &ObjectStore, one: (Settlement, Timestamp)) -> Result<Settled, Fault> {
    let mut outcomes = together(store, vec![one])?;
    outcomes.pop().unwrap_or_else(|| Err(Fault::store("a settlement has no outcome")))
}

/// Settles in one transaction. A panic rolls back, as an error does.
fn together(
    store: &ObjectStore,
    all: Vec<(Settlement, Timestamp)>,
) -> Result<Vec<Result<Settled, Fault>>, Fault> {
    // The panic's message is in the log already.
    let panicked = |_| Err(Fault::new(FaultKind::Internal, "an organization's object panicked"));
    catch_unwind(AssertUnwindSafe(|| store.settle_all(all))).unwrap_or_else(panicked)
}
