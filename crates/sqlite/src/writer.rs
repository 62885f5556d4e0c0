//! The thread that writes: group commit.
//!
//! A command is a function over [`LedgerCache`]; it runs inside the group's transaction and its answer
//! leaves after the commit. A lone request does not wait for company; where there was company just
//! now, the next group gathers for a moment, since a commit costs many times what a row does.

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

/// Commands that may wait; beyond, callers are told that the gateway is overloaded.
const QUEUE_MAX: usize = 16_384;
/// Commands of one commit.
const GROUP_MAX: usize = 512;
/// After a group of so many commands the next one gathers.
const COMPANY: usize = 8;
/// For how long a group gathers: about as long as a commit takes on a fast disk.
const GATHERING: Duration = Duration::from_micros(200);

/// How often an idle writer looks whether the file is still in its place.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Reply = Box<dyn FnOnce(Result<(), Fault>) + Send>;
type Command = Box<dyn FnOnce(&mut Writer<'_>) -> Result<Reply, Fault> + Send>;

/// What the commands work on.
struct Writer<'a> {
    sql: Native<'a>,
    cache: LedgerCache,
    holder: Holder,
    committed_at: Instant,
}

/// The way to the writing thread.
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
            // The one who asked may have gone away meanwhile.
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

    /// Runs commands until nobody can send any more, then gives the file up.
    fn run(mut self, commands: &Receiver<Command>) -> Holder {
        let mut company = 0;
        loop {
            let first = match commands.recv_timeout(LOOK_EVERY) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if company >= COMPANY {
                std::thread::sleep(GATHERING);
            }
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = commands.try_recv()
            {
                group.push(next);
            }
            company = group.len();
            self.run_group(group);
        }
        if let Err(fault) = self.holder.release(&self.sql) {
            tracing::warn!(cause = fault.cause, "cannot note in the database that it was closed");
            self.forget();
        }
        self.holder
    }

    fn run_group(&mut self, group: Vec<Command>) {
        let mut replies = Vec::with_capacity(group.len());
        let outcome = self.commit(group, &mut replies).inspect_err(|fault| {
            self.forget();
            // That the file is lost was logged once.
            if self.holder.is_whole() {
                tracing::error!(cause = fault.cause, "a group of writes was rolled back");
            }
        });
        for reply in replies {
            reply(outcome.clone());
        }
    }

    /// Between requests: notices that the file is lost, and renews the claim on it.
    fn look(&mut self) {
        if self.holder.look() && self.committed_at.elapsed() >= RENEW_AFTER {
            self.run_group(Vec::new());
        }
    }

    /// Commands that did not run drop their answers, which tells their callers.
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

    /// After a failure: nothing of the group remains.
    fn forget(&mut self) {
        if self.sql.in_transaction()
            && let Err(fault) = self.sql.execute("ROLLBACK", &[])
        {
            tracing::error!(cause = fault.cause, "a rollback failed");
        }
        self.cache.forget();
    }
}
