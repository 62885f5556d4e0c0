//! The thread that writes the journal, and settles its records once the store answers.
//!
//! Waiting appends share one sync. Records are settled from the oldest on, one portion at a time,
//! concurrently with appends. If the store is unreachable for one record, the whole portion is
//! tried again. Records that the store refuses permanently are moved to another file, so that they
//! do not block later ones.

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
use driftlock_gateway::JournalGauges;
use driftlock_gateway::ports::Clock;
use futures_util::future::join_all;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio::sync::oneshot;

use super::file::{Entry, JournalFile, Portion};
use super::is_away;
use super::refused::RefusedFile;
use crate::host::clock::NativeClock;
use crate::host::platform::SharedStore;

/// Records of one sync.
const BATCH_MAX: usize = 512;
/// Records that wait to be written; beyond, requests are refused.
const QUEUE_MAX: usize = 16_384;
/// How often the thread tries to settle waiting records.
const SETTLED_EVERY: Duration = Duration::from_millis(250);

/// A handle of the journal's thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Journal {
    waiting: Option<Sender<Waiting>>,
    has_room: Arc<AtomicBool>,
    gauges: Arc<JournalGauges>,
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

/// The thread's state.
struct State {
    file: JournalFile,
    refused: RefusedFile,
    has_room: Arc<AtomicBool>,
    gauges: Arc<JournalGauges>,
}

type Shared = Rc<RefCell<State>>;

impl Journal {
    /// Opens the configured journal, and starts to settle the records in it.
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
        // Opened here, so that an error is reported before the gateway serves requests.
        let file = JournalFile::open(path, bytes_max, durability).map_err(failed)?;
        let refused = RefusedFile::beside(path);
        let gauges = Arc::<JournalGauges>::default();
        gauges.add_refused(refused.count().map_err(failed)?);
        let (sender, receiver) = channel(QUEUE_MAX);
        let has_room = Arc::new(AtomicBool::new(file.has_room()));
        let (room, shown) = (Arc::clone(&has_room), Arc::clone(&gauges));
        gauges.set_bytes(file.bytes());
        let state = State { file, refused, has_room: room, gauges: shown };
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(run(state, store, clock, receiver)),
                Err(error) => {
                    tracing::error!(%error, "could not create the journal's event loop")
                }
            }
        };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(work);
        let thread = Some(thread.map_err(failed)?);
        Ok(Self { waiting: Some(sender), has_room, gauges, thread })
    }

    /// Checks the journal's file, or the folder where it would be created, and changes neither.
    ///
    /// # Errors
    /// [`JournalError`], as [`Journal::start`].
    pub(crate) fn look(metering: &Metering) -> Result<(), JournalError> {
        let path = Path::new(&metering.journal_file);
        let looked = JournalFile::look(path, metering.journal_bytes_max, metering.durability);
        looked.map_err(|cause| JournalError { path: path.to_owned(), cause })
    }

    /// Whether the journal accepts a record.
    pub(super) fn has_room(&self) -> bool {
        self.has_room.load(Ordering::Relaxed)
    }

    /// The journal's metrics.
    pub(super) fn gauges(&self) -> Arc<JournalGauges> {
        Arc::clone(&self.gauges)
    }

    /// Makes a record durable.
    pub(super) async fn append(&self, entry: Entry) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        let gone = || Fault::store("the journal's thread has ended");
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
            // If the thread panicked, its callers have already got faults.
            let _ = thread.join();
        }
    }
}

async fn run<S: SharedStore>(
    state: State,
    store: S,
    clock: NativeClock,
    mut waiting: Receiver<Waiting>,
) {
    let state = Rc::new(RefCell::new(state));
    let settling = tokio::task::spawn_local(settle(Rc::clone(&state), store, clock));
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let (entries, replies): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|one| (one.entry, one.reply)).unzip();
        let written = state.borrow_mut().append(&entries);
        for reply in replies {
            let outcome = written.as_ref().copied().map_err(Fault::store);
            // The caller may have been cancelled in the meantime.
            let _ = reply.send(outcome);
        }
    }
    settling.abort();
}

impl State {
    fn append(&mut self, entries: &[Entry]) -> std::io::Result<()> {
        let was_empty = self.file.is_empty();
        let written = self.file.append(entries);
        if was_empty && written.is_ok() {
            self.show_oldest(entries);
        }
        self.gauges.set_bytes(self.file.bytes());
        if let Err(error) = &written {
            tracing::error!(%error, "journal full or unwritable: refusing metered requests");
        }
        self.has_room.store(self.file.has_room() && written.is_ok(), Ordering::Relaxed);
        written
    }

    /// Sets the metric for the age of the first entry.
    fn show_oldest(&self, entries: &[Entry]) {
        self.gauges.set_oldest(entries.first().map(|entry| entry.settlement.audit.at));
    }

    /// After a failed append, accepts records again once the disk accepts writes.
    fn reopen(&self) {
        let is_shut = !self.has_room.load(Ordering::Relaxed);
        if is_shut && self.file.has_room() && self.file.is_writable() {
            self.has_room.store(true, Ordering::Relaxed);
            tracing::info!("the journal accepts records again");
        }
    }

    /// Marks a portion as done, after moving its refused entries aside. Returns whether that
    /// worked.
    fn done(&mut self, portion: &Portion, refused: &[(usize, Fault)]) -> bool {
        let entries: Vec<&Entry> =
            refused.iter().map(|(place, _)| &portion.entries[*place]).collect();
        if !entries.is_empty() {
            let path = self.refused.path().display();
            if let Err(error) = self.refused.keep(&entries) {
                tracing::error!(%error, %path, "could not write refused entries; will retry");
                return false;
            }
            for (entry, (_, fault)) in entries.iter().zip(refused) {
                let usage = entry.settlement.usage;
                tracing::error!(
                    %usage, cause = fault.cause, %path,
                    "the store refused a journal entry permanently; moved it to another file",
                );
            }
            self.gauges.add_refused(entries.len() as u64);
        }
        if let Err(error) = self.file.done(portion.next) {
            tracing::error!(%error, "could not shorten the journal");
        }
        if self.file.is_empty() {
            self.show_oldest(&[]);
        }
        self.gauges.set_bytes(self.file.bytes());
        true
    }
}

/// Settles waiting records in a loop, as long as the store accepts them.
async fn settle<S: SharedStore>(state: Shared, store: S, clock: NativeClock) {
    let mut settled = 0;
    loop {
        let portion = {
            let state = state.borrow();
            if state.file.is_empty() { None } else { Some(state.file.oldest()) }
        };
        match portion {
            Some(Ok(portion)) => {
                state.borrow().show_oldest(&portion.entries);
                let refused = take(&store, &portion, &clock).await;
                let mut state = state.borrow_mut();
                if let Some(refused) = refused
                    && state.done(&portion, &refused)
                {
                    settled += portion.entries.len() - refused.len();
                    if state.file.is_empty() {
                        tracing::info!(settled, "settled all requests of the outage");
                        settled = 0;
                    }
                    state.reopen();
                    continue;
                }
            }
            Some(Err(error)) => tracing::error!(%error, "could not read the journal"),
            None => {}
        }
        state.borrow().reopen();
        tokio::time::sleep(SETTLED_EVERY).await;
    }
}

/// The entries of a portion that the store refuses, by index; `None` if the store is unreachable.
async fn take<S: SharedStore>(
    store: &S,
    portion: &Portion,
    clock: &NativeClock,
) -> Option<Vec<(usize, Fault)>> {
    let one =
        async |entry: &Entry| store.settle_late(&entry.settlement, entry.terms, clock.now()).await;
    let outcomes = join_all(portion.entries.iter().map(one)).await;
    let mut refused = Vec::new();
    for (place, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(Settled::Committed { .. } | Settled::Repeated { .. }) => {}
            Ok(Settled::Refused) => {
                let usage = portion.entries[place].settlement.usage;
                tracing::error!(%usage, "a journal entry was voided and is not charged");
            }
            Err(fault) if is_away(&fault) => {
                tracing::debug!(cause = fault.cause, "store unreachable; the journal waits");
                return None;
            }
            Err(fault) => refused.push((place, fault)),
        }
    }
    Some(refused)
}
