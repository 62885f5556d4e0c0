//! The reading threads: each has its own connection, and all take jobs from one bounded queue.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use driftlock_domain::denial::{Fault, FaultKind};
use futures_channel::oneshot;

use crate::guard::FileGuard;
use crate::open::{OpenError, reading};
use crate::sql::Native;

const QUEUE_MAX: usize = 4_096;

type Job = Box<dyn FnOnce(&Native<'_>) + Send>;

/// The handle of the reading threads.
#[derive(Debug)]
pub(crate) struct Readers {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    guard: FileGuard,
}

impl Readers {
    pub(crate) fn start(path: &Path, count: usize, guard: FileGuard) -> Result<Self, OpenError> {
        let (sender, receiver) = sync_channel::<Job>(QUEUE_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::new();
        for _ in 0..count.max(1) {
            let connection = reading(path).map_err(|error| OpenError::of(path, error))?;
            let receiver = Arc::clone(&receiver);
            let work = move || {
                let sql = Native::new(&connection);
                while let Some(job) = next(&receiver) {
                    job(&sql);
                }
            };
            let thread = std::thread::Builder::new().name("sqlite-reader".into()).spawn(work);
            threads.push(thread.map_err(|error| OpenError::Io(path.to_owned(), error))?);
        }
        Ok(Self { jobs: Some(sender), threads, guard })
    }

    /// Runs `work` on one of the threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Native<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.guard.check()?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |sql| {
            // Sending fails if the caller no longer waits.
            let _ = answer.send(work(sql));
        });
        let jobs = self.jobs.as_ref().ok_or_else(|| Fault::store("the store is closed"))?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => {
                Fault::new(FaultKind::Overloaded, "the readers' queue is full")
            }
            TrySendError::Disconnected(_) => Fault::store("the store's readers are gone"),
        })?;
        answered.await.map_err(|_| Fault::store("a reader of the store failed"))?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A reader that panicked has answered its caller with a fault already.
            let _ = thread.join();
        }
    }
}

fn next(receiver: &Mutex<Receiver<Job>>) -> Option<Job> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
