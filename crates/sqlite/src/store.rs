//! The store: opening it, and its threads.

use std::path::Path;
use std::sync::Arc;

use driftlock_domain::id::NodeId;
use driftlock_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::claim::{self, Holder};
use crate::open::{OpenError, Options, check, keep_log_on_close, writing};
use crate::own::{Owned, own};
use crate::reader::Readers;
use crate::schema;
use crate::writer::WriterHandle;

/// An open database file; clones are the same one. The last clone closes it.
#[derive(Debug, Clone)]
pub struct SqliteStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // Fields drop in this order: readers end, then the writer, then the lock is released.
    readers: Readers,
    writer: WriterHandle,
    node: NodeId,
    migrated_from: i64,
    last_commit: Option<Timestamp>,
    _owned: Owned,
}

impl SqliteStore {
    /// Opens or creates a database file, and brings its schema up to date.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let owned = own(path)?;
        // SQLite names its log after the path, so open the file by its resolved path.
        let path = owned.path();
        let failed = |error| OpenError::of(path, error);
        let mut connection = writing(path, options).map_err(failed)?;
        check(&connection, path)?;
        schema::known(&connection, path)?;
        let process = claim::this_process(path)?;
        let stated = claim::examine(&connection, path, &process, options.accept_missing)?;
        keep_log_on_close(&connection, false).map_err(failed)?;
        let migrated_from = schema::migrate(&mut connection, path)?;
        let node = node(&connection, path)?;
        let (durability, inode) = (options.durability, owned.inode());
        let holder = Holder::take(&connection, path, process, durability, stated, inode)?;
        let (guard, last_commit) = (holder.guard(), holder.last_commit());
        let writer = WriterHandle::start(connection, holder)
            .map_err(|error| OpenError::Io(path.to_owned(), error))?;
        let readers = Readers::start(path, options.readers, guard)?;
        Ok(Self(Arc::new(Inner {
            readers,
            writer,
            node,
            migrated_from,
            last_commit,
            _owned: owned,
        })))
    }

    /// The node that holds this file's leases.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// The schema version of the file before it was opened, and its version now.
    #[must_use]
    pub fn migrated(&self) -> (i64, i64) {
        (self.0.migrated_from, schema::VERSION)
    }

    /// The time of the last commit before this opening, by the clock of the machine that made it.
    #[must_use]
    pub fn last_commit(&self) -> Option<Timestamp> {
        self.0.last_commit
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.0.readers
    }

    pub(crate) fn writer(&self) -> &WriterHandle {
        &self.0.writer
    }
}

fn node(connection: &Connection, path: &Path) -> Result<NodeId, OpenError> {
    let failed = |error| OpenError::of(path, error);
    let query = "SELECT value FROM meta WHERE name = 'node'";
    let known: Option<[u8; 16]> =
        connection.query_row(query, (), |row| row.get(0)).optional().map_err(failed)?;
    if let Some(bytes) = known {
        return Ok(NodeId::from_bytes(bytes));
    }
    let mut entropy = [0; 10];
    getrandom::fill(&mut entropy).map_err(|error| {
        OpenError::Io(path.to_owned(), std::io::Error::other(error.to_string()))
    })?;
    let node = NodeId::make(Timestamp::default(), entropy);
    let insert = "INSERT INTO meta (name, value) VALUES ('node', ?1)";
    connection.execute(insert, [node.as_bytes()]).map_err(failed)?;
    Ok(node)
}
