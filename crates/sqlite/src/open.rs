//! Opening a database file, and what may be wrong with it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driftlock_domain::config::Durability;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How a store is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What a settled request survives.
    pub durability: Durability,
    /// The greatest size of the file, in pages of 4,096 bytes; none unless set.
    pub pages_max: Option<u32>,
    /// Threads that read.
    pub readers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { durability: Durability::Fsync, pages_max: None, readers: 2 }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the database belongs to another process, which holds {}: stop it first", .0.display())]
    Locked(PathBuf),
    /// It cannot be written to.
    #[error("the database {} is read-only: check its permissions and its folder's", .0.display())]
    ReadOnly(PathBuf),
    /// It is no SQLite database, or a damaged one.
    #[error("the file {} is no SQLite database, or a damaged one: restore it from a backup", .0.display())]
    Corrupt(PathBuf),
    /// A later version of the gateway made it.
    #[error("the database {path} has schema version {found}; this program knows {known}: use a later one", path = .path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The file system's error.
    #[error("cannot open {}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// SQLite's error.
    #[error("cannot open the database {}: {}", .0.display(), .1)]
    Sqlite(PathBuf, rusqlite::Error),
}

impl OpenError {
    /// What SQLite's error means for someone who opens `path`.
    pub(crate) fn of(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly(path),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt(path),
            Some(_) | None => Self::Sqlite(path, error),
        }
    }
}

/// The one connection that writes.
pub(crate) fn writing(path: &Path, options: Options) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match options.durability {
        Durability::Fsync => "FULL",
        Durability::Process => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // Every commit writes the page that rows are being appended to; the later the log is copied
    // into the database, the fewer of those copies are. 16 MiB of log are read back at a start.
    connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    if let Some(pages) = options.pages_max {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// A connection that reads.
pub(crate) fn reading(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.pragma_update(None, "query_only", "ON")?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}
