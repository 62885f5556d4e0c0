//! The thread that drives the connections, and the handle by which all cores send it calls.

use std::sync::Arc;
use std::thread::JoinHandle;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_postgres_core::{Call, Change};
use futures_channel::oneshot;
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::changes;
use crate::error::CallError;
use crate::pool::Database;
use crate::settler::{self, Waiting};
use crate::url::DatabaseUrl;

/// The maximum number of calls, and of settlements, in progress or waiting. Beyond it calls fail as
/// overloaded.
const QUEUE_MAX: usize = 16_384;

/// The connections of one process; clones are the same ones. They close with the last of them.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    commands: Option<Sender<Command>>,
    settlements: Option<Sender<Waiting>>,
    /// Bounds calls, which leave the queue as soon as they begin to wait for a connection.
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

/// Gets each change, on the connections' thread.
pub(crate) type OnChange = Box<dyn Fn(Change) + Send + Sync>;

enum Command {
    Call {
        function: &'static str,
        args: Value,
        reply: oneshot::Sender<Result<Value, Fault>>,
        room: OwnedSemaphorePermit,
    },
    Watch(OnChange),
}

impl Connections {
    pub(crate) fn start(url: DatabaseUrl, database: Database) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, received) = channel(QUEUE_MAX);
        let (settlements, waiting) = channel(QUEUE_MAX);
        let work = move || {
            runtime.block_on(async {
                let settling = tokio::spawn(settler::run(database.clone(), waiting));
                serve(&url, &database, received).await;
                // It ends when its queue closes, which is when the queue of commands closes.
                let _ = settling.await;
            });
        };
        let thread = std::thread::Builder::new().name("postgres".into()).spawn(work)?;
        let (commands, settlements) = (Some(commands), Some(settlements));
        let (room, thread) = (Arc::new(Semaphore::new(QUEUE_MAX)), Some(thread));
        Ok(Self(Arc::new(Inner { commands, settlements, room, thread })))
    }

    /// Calls `on_change` for each change by other nodes, as long as the connections exist.
    /// `on_change` runs on the connections' thread and must not block.
    pub fn watch(&self, on_change: impl Fn(Change) + Send + Sync + 'static) {
        let command = Command::Watch(Box::new(on_change));
        let sent = self.0.commands.as_ref().map(|to| to.try_send(command));
        if !matches!(sent, Some(Ok(()))) {
            tracing::error!("cannot watch changes: the store's thread takes no commands");
        }
    }

    async fn ask<C>(
        &self,
        to: Option<&Sender<C>>,
        command: impl FnOnce(oneshot::Sender<Result<Value, Fault>>) -> C,
    ) -> Result<Value, Fault> {
        let (reply, answer) = oneshot::channel();
        let to = to.ok_or_else(|| Fault::store("the store is closed"))?;
        to.try_send(command(reply)).map_err(|error| match error {
            TrySendError::Full(_) => overloaded(),
            TrySendError::Closed(_) => Fault::store("the store's thread is gone"),
        })?;
        answer.await.map_err(|_| Fault::store("the store's thread is gone"))?
    }
}

impl Call for Connections {
    async fn call(&self, function: &'static str, args: Value) -> Result<Value, Fault> {
        let room = Arc::clone(&self.0.room).try_acquire_owned().map_err(|_| overloaded())?;
        let command = |reply| Command::Call { function, args, reply, room };
        self.ask(self.0.commands.as_ref(), command).await
    }

    async fn settle(&self, settlement: Value) -> Result<Value, Fault> {
        let waiting = |reply| Waiting { settlement, reply };
        self.ask(self.0.settlements.as_ref(), waiting).await
    }
}

fn overloaded() -> Fault {
    Fault::new(FaultKind::Overloaded, "the store's queue is full")
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.commands = None;
        self.settlements = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A thread that panicked has answered its callers with faults already.
            let _ = thread.join();
        }
    }
}

async fn serve(url: &DatabaseUrl, database: &Database, mut commands: Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Call { function, args, reply, room } => {
                let database = database.clone();
                tokio::spawn(async move {
                    // The call keeps its permit, even if the caller no longer waits.
                    let _room = room;
                    let answer = database.call(function, &args).await.map_err(CallError::fault);
                    // Sending fails if the caller no longer waits.
                    let _ = reply.send(answer);
                });
            }
            Command::Watch(on_change) => {
                tokio::spawn(changes::watch(url.clone(), database.clone(), on_change));
            }
        }
    }
}
