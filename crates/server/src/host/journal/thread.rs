//! The thread that writes the journal, and settles what is in it once the store answers.
//!
//! Appends that wait share one sync. Settling goes from the oldest on, a portion at a time, beside
//! the appends; a portion of which one is refused by the store's failing is tried again as a whole.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use driftlock_domain::config::Metering;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::usage::Settled;
use driftlock_gateway::ports::Clock;
use futures_util::future::join_all;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio::sync::oneshot;

use super::file::{Entry, JournalFile, Portion};
use crate::host::clock::NativeClock;
use crate::host::platform::SharedStore;

/// Records of one sync.
const BATCH_MAX: usize = 512;
/// Records that wait to be written; beyond, requests are refused.
const QUEUE_MAX: usize = 16_384;
/// How often the store is asked whether it takes what waits.
const SETTLED_EVERY: Duration = Duration::from_millis(250);

/// The way to the journal; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Journal {
    waiting: Option<Sender<Waiting>>,
    has_room: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("metering.journal_file {}: {cause}", .path.display())]
pub(crate) struct JournalError {
    path: PathBuf,
    cause: std::io::Error,
}

struct Waiting {
    entry: Entry,
    reply: oneshot::Sender<Result<(), Fault>>,
}

type Shared = Rc<RefCell<JournalFile>>;

impl Journal {
    /// Opens the journal that the configuration names, and settles what is left in it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn start<S: SharedStore>(
        metering: &Metering,
        store: S,
        clock: NativeClock,
    ) -> Result<Self, JournalError> {
        let path = Path::new(&metering.journal_file);
        let failed = |cause| JournalError { path: path.to_owned(), cause };
        let (bytes_max, durability) = (metering.journal_bytes_max, metering.durability);
        // It is opened here, so that what is wrong with it is told before anything is served.
        let file = JournalFile::open(path, bytes_max, durability).map_err(failed)?;
        let (sender, receiver) = channel(QUEUE_MAX);
        let has_room = Arc::new(AtomicBool::new(file.has_room()));
        let room = Arc::clone(&has_room);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(run(file, store, clock, receiver, room)),
                Err(error) => tracing::error!(%error, "the journal has no event loop"),
            }
        };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(work);
        let thread = Some(thread.map_err(failed)?);
        Ok(Self { waiting: Some(sender), has_room, thread })
    }

    /// Whether a record would be taken.
    pub(super) fn has_room(&self) -> bool {
        self.has_room.load(Ordering::Relaxed)
    }

    /// Makes a record durable.
    pub(super) async fn append(&self, entry: Entry) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        let gone = || Fault::store("the journal's thread is gone");
        let waiting = self.waiting.as_ref().ok_or_else(gone)?;
        waiting.try_send(Waiting { entry, reply }).map_err(|error| match error {
            TrySendError::Full(_) => {
                Fault::new(FaultKind::Overloaded, "the journal's queue is full")
            }
            TrySendError::Closed(_) => gone(),
        })?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.waiting = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has answered its callers with faults already.
            let _ = thread.join();
        }
    }
}

async fn run<S: SharedStore>(
    file: JournalFile,
    store: S,
    clock: NativeClock,
    mut waiting: Receiver<Waiting>,
    has_room: Arc<AtomicBool>,
) {
    let file = Rc::new(RefCell::new(file));
    let settling =
        tokio::task::spawn_local(settle(Rc::clone(&file), store, clock, Arc::clone(&has_room)));
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let (entries, replies): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|one| (one.entry, one.reply)).unzip();
        let mut file = file.borrow_mut();
        let written = file.append(&entries);
        has_room.store(file.has_room() && written.is_ok(), Ordering::Relaxed);
        drop(file);
        if let Err(error) = &written {
            tracing::error!(%error, "the journal takes no more: metered requests are refused");
        }
        for reply in replies {
            let outcome = written.as_ref().copied().map_err(Fault::store);
            // The one who asked may have gone away meanwhile.
            let _ = reply.send(outcome);
        }
    }
    settling.abort();
}

/// Settles what waits, as long as the store takes it, again and again.
async fn settle<S: SharedStore>(file: Shared, store: S, clock: NativeClock, room: Arc<AtomicBool>) {
    let mut settled = 0;
    loop {
        let portion = if file.borrow().is_empty() { None } else { Some(file.borrow().oldest()) };
        match portion {
            Some(Ok(portion)) if take(&store, &portion, &clock).await => {
                settled += portion.entries.len();
                let mut file = file.borrow_mut();
                if let Err(error) = file.done(portion.next) {
                    tracing::error!(%error, "the journal cannot be shortened");
                }
                room.store(file.has_room(), Ordering::Relaxed);
                if file.is_empty() {
                    tracing::info!(settled, "what went on while the store was away is settled");
                    settled = 0;
                }
                continue;
            }
            Some(Err(error)) => tracing::error!(%error, "the journal cannot be read"),
            Some(Ok(_)) | None => {}
        }
        tokio::time::sleep(SETTLED_EVERY).await;
    }
}

/// Whether the store has all of a portion.
async fn take<S: SharedStore>(store: &S, portion: &Portion, clock: &NativeClock) -> bool {
    let one =
        async |entry: &Entry| store.settle_late(&entry.settlement, entry.terms, clock.now()).await;
    let outcomes = join_all(portion.entries.iter().map(one)).await;
    for (entry, outcome) in portion.entries.iter().zip(&outcomes) {
        match outcome {
            Ok(Settled::Committed { .. } | Settled::Repeated { .. }) => {}
            Ok(Settled::Refused) => {
                tracing::error!(usage = %entry.settlement.usage, "was voided meanwhile, and is not charged");
            }
            Err(fault) => {
                tracing::debug!(cause = fault.cause, "the store is away: the journal waits");
                return false;
            }
        }
    }
    true
}
