//! The thread that writes: group commit.
//!
//! A command is a function over [`Books`]; it runs inside the group's transaction and its answer
//! leaves after the commit.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_sqlite_core::Books;
use futures_channel::oneshot;
use rusqlite::Connection;

use crate::sql::Native;

/// Commands that may wait; beyond, callers are told that the gateway is overloaded.
const QUEUE_MAX: usize = 16_384;
/// Commands of one commit.
const GROUP_MAX: usize = 512;
type Reply = Box<dyn FnOnce(Result<(), Fault>) + Send>;
type Command = Box<dyn FnOnce(&mut Writer) -> Result<Reply, Fault> + Send>;

/// What the commands work on.
struct Writer {
    connection: Connection,
    books: Books,
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
        let writer = Writer { connection, books: Books::default() };
        let work = move || writer.run(&receiver);
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(work)?;
        Ok(Self { commands: Some(sender), thread: Some(thread) })
    }

    /// Runs a command and waits for the commit of its group.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books, &Native<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let command: Command = Box::new(move |writer| {
            let value = work(&mut writer.books, &Native(&writer.connection))?;
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
    fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = commands.try_recv()
            {
                group.push(next);
            }
            let mut replies = Vec::with_capacity(group.len());
            let outcome = self.commit(group, &mut replies).inspect_err(|fault| {
                self.forget();
                tracing::error!(cause = fault.cause, "a group of writes was rolled back");
            });
            for reply in replies {
                reply(outcome.clone());
            }
        }
    }

    /// Commands that did not run drop their answers, which tells their callers.
    fn commit(&mut self, group: Vec<Command>, replies: &mut Vec<Reply>) -> Result<(), Fault> {
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(Fault::store)?;
        for command in group {
            replies.push(command(self)?);
        }
        self.books.before_commit(&Native(&self.connection))?;
        self.connection.execute_batch("COMMIT").map_err(Fault::store)
    }

    /// After a failure: nothing of the group remains.
    fn forget(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(cause = %error, "a rollback failed");
        }
        self.books.forget();
    }
}
