//! The thread that writes: group commit.
//!
//! A command is a function over [`LedgerCache`]; it runs inside the group's transaction, and its
//! answer is sent after the commit. A single command is committed at once. After a group of several
//! commands, the writer waits a moment for more, since a commit costs many times what a row does.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::store_file::owner::RENEW_AFTER;
use driftlock_sqlite_core::{LedgerCache, Sql};
use futures_channel::oneshot;
use rusqlite::Connection;

use crate::claim::Holder;
use crate::sql::Native;

/// The maximum number of waiting commands. Beyond it commands fail as overloaded.
const QUEUE_MAX: usize = 16_384;
/// The maximum number of commands in one commit.
const GROUP_MAX: usize = 512;
/// After a group of at least this size, the writer waits for more commands.
const BUSY_GROUP: usize = 8;
/// How long the writer waits for more commands: about the time of a commit on a fast disk.
const GATHERING: Duration = Duration::from_micros(200);

/// How often an idle writer checks that the file is still at its path.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Reply = Box<dyn FnOnce(Result<(), Fault>) + Send>;
type Command = Box<dyn FnOnce(&mut Writer<'_>) -> Result<Reply, Fault> + Send>;

/// The state that commands work on.
struct Writer<'a> {
    sql: Native<'a>,
    cache: LedgerCache,
    holder: Holder,
    committed_at: Instant,
}

/// The handle of the writing thread.
#[derive(Debug)]
pub(crate) struct WriterHandle {
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterHandle {
    pub(crate) fn start(connection: Connection, holder: Holder) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let work = move || {
            let holder = Writer::new(&connection, holder).run(&receiver);
            match connection.close() {
                Ok(()) => holder.closed(),
                Err((_, error)) => tracing::warn!(%error, "cannot close the database cleanly"),
            }
        };
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(work)?;
        Ok(Self { commands: Some(sender), thread: Some(thread) })
    }

    /// Runs a command and waits for the commit of its group.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut LedgerCache, &Native<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let command: Command = Box::new(move |writer| {
            let value = work(&mut writer.cache, &writer.sql)?;
            // Sending fails if the caller no longer waits.
            Ok(Box::new(move |committed: Result<(), Fault>| {
                let _ = answer.send(committed.map(|()| value));
            }))
        });
        let commands = self.commands.as_ref().ok_or_else(|| Fault::store("the store is closed"))?;
        commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => {
                Fault::new(FaultKind::Overloaded, "the writer's queue is full")
            }
            TrySendError::Disconnected(_) => Fault::store("the store's writer is gone"),
        })?;
        answered.await.map_err(|_| Fault::store("the store could not commit"))?
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has answered its callers with faults already.
            let _ = thread.join();
        }
    }
}

impl<'a> Writer<'a> {
    fn new(connection: &'a Connection, holder: Holder) -> Self {
        let (sql, cache) = (Native::new(connection), LedgerCache::default());
        Self { sql, cache, holder, committed_at: Instant::now() }
    }

    /// Runs commands until the handle is dropped, then ends the claim on the file.
    fn run(mut self, commands: &Receiver<Command>) -> Holder {
        let mut last_group = 0;
        loop {
            let first = match commands.recv_timeout(LOOK_EVERY) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if last_group >= BUSY_GROUP {
                std::thread::sleep(GATHERING);
            }
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = commands.try_recv()
            {
                group.push(next);
            }
            last_group = group.len();
            self.run_group(group);
        }
        if let Err(fault) = self.holder.release(&self.sql) {
            tracing::warn!(error = fault.cause, "cannot record in the database that it was closed");
            self.forget();
        }
        self.holder
    }

    fn run_group(&mut self, group: Vec<Command>) {
        let mut replies = Vec::with_capacity(group.len());
        let outcome = self.commit(group, &mut replies).inspect_err(|fault| {
            self.forget();
            // The loss of the file is logged only once.
            if self.holder.is_whole() {
                tracing::error!(error = fault.cause, "rolled back a group of writes");
            }
        });
        for reply in replies {
            reply(outcome.clone());
        }
    }

    /// Without commands: checks that the file is not lost, and renews the claim on it.
    fn look(&mut self) {
        if self.holder.look() && self.committed_at.elapsed() >= RENEW_AFTER {
            self.run_group(Vec::new());
        }
    }

    /// Runs a group and commits it. On an error, the commands that did not run drop their answer
    /// channels, which reports the failure to their callers.
    fn commit(&mut self, group: Vec<Command>, replies: &mut Vec<Reply>) -> Result<(), Fault> {
        self.sql.execute("BEGIN IMMEDIATE", &[])?;
        for command in group {
            replies.push(command(self)?);
        }
        self.cache.before_commit(&self.sql)?;
        let settled = self.cache.take_group();
        self.holder.before_commit(&self.sql, settled)?;
        self.sql.execute("COMMIT", &[])?;
        self.holder.committed();
        self.committed_at = Instant::now();
        Ok(())
    }

    /// Rolls the group back after a failure, and drops the cache.
    fn forget(&mut self) {
        if self.sql.in_transaction()
            && let Err(fault) = self.sql.execute("ROLLBACK", &[])
        {
            tracing::error!(error = fault.cause, "rollback failed");
        }
        self.cache.forget();
    }
}
