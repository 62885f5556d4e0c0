//! The thread that writes: group commit, and what it remembers between commits.
//!
//! A command is a function over [`Writer`]; it runs inside the group's transaction and its answer
//! leaves after the commit. What it remembers of books and chains is only ever ahead of the
//! database inside a transaction: a rollback forgets it all, and it is read anew.

pub(crate) mod audit;
mod counters;
pub(crate) mod kept;
mod lease;
mod settle;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use driftlock_domain::audit::AuditHead;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::lease::LeaseBook;
use driftlock_domain::time::Timestamp;
use futures_channel::oneshot;
use rusqlite::Connection;

use self::counters::Counters;

/// Commands that may wait; beyond, callers are told that the gateway is overloaded.
const QUEUE_MAX: usize = 16_384;
/// Commands of one commit.
const GROUP_MAX: usize = 512;
/// Organizations remembered; beyond, all are forgotten and read anew.
const REMEMBERED_MAX: usize = 100_000;

type Reply = Box<dyn FnOnce(Result<(), Fault>) + Send>;
type Command = Box<dyn FnOnce(&mut Writer) -> rusqlite::Result<Reply> + Send>;

/// What the commands work on.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    books: HashMap<OrganizationId, Book>,
    /// The terms that each book was last leased under: they outlive a rollback.
    terms: HashMap<OrganizationId, Terms>,
    heads: HashMap<OrganizationId, AuditHead>,
    routes: HashMap<String, i64>,
    counters: Counters,
}

struct Book {
    lease: LeaseBook,
    /// Commit times are monotone per organization, also across a restart.
    last_at: Timestamp,
}

/// The way to the writing thread.
#[derive(Debug)]
pub(crate) struct WriterHandle {
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterHandle {
    pub(crate) fn start(connection: Connection) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let writer = Writer::new(connection);
        let work = move || writer.run(&receiver);
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(work)?;
        Ok(Self { commands: Some(sender), thread: Some(thread) })
    }

    /// Runs a command and waits for the commit of its group.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let command: Command = Box::new(move |writer| {
            let value = work(writer)?;
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

impl Writer {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            books: HashMap::new(),
            terms: HashMap::new(),
            heads: HashMap::new(),
            routes: HashMap::new(),
            counters: Counters::default(),
        }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = commands.try_recv()
            {
                group.push(next);
            }
            let mut replies = Vec::with_capacity(group.len());
            let outcome = self.commit(group, &mut replies).map_err(|error| {
                self.forget();
                tracing::error!(cause = %error, "a group of writes was rolled back");
                Fault::store(error)
            });
            for reply in replies {
                reply(outcome.clone());
            }
        }
    }

    /// Commands that did not run drop their answers, which tells their callers.
    fn commit(&mut self, group: Vec<Command>, replies: &mut Vec<Reply>) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        for command in group {
            replies.push(command(self)?);
        }
        self.write_counters()?;
        self.connection.execute_batch("COMMIT")
    }

    /// After a failure: nothing of the group remains.
    fn forget(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(cause = %error, "a rollback failed");
        }
        self.books.clear();
        self.heads.clear();
        self.routes.clear();
        self.counters = Counters::default();
    }
}
