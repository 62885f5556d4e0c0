//! Opening a database file, and the errors of opening.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driftlock_domain::config::Durability;
use driftlock_domain::store_file::commitment::Incomplete;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How a store is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The failures that a settled request survives.
    pub durability: Durability,
    /// The maximum size of the file in pages of 4,096 bytes; `None`: no maximum.
    pub pages_max: Option<u32>,
    /// The number of reading threads.
    pub readers: usize,
    /// The number in [`OpenError::Incomplete`] by which the operator accepts the missing commits.
    pub accept_missing: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { durability: Durability::Fsync, pages_max: None, readers: 2, accept_missing: None }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file open, under this name or another.
    #[error(
        "the database {path} is served by {owner}: stop that process first. One file has one gateway; \
         several gateways need PostgreSQL (docs/fleet.md)",
        path = .path.display(),
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// The process, its machine and the path under which it opened the file.
        owner: String,
    },
    /// Commits are missing, or may be.
    #[error("the database {path} is incomplete: {incomplete}; {}", advice(.incomplete), path = .path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        incomplete: Incomplete,
    },
    /// The file cannot be written to.
    #[error("the database {} is read-only: check its permissions and its folder's", .0.display())]
    ReadOnly(PathBuf),
    /// The file is not an SQLite database, or is damaged.
    #[error("the file {} is no SQLite database, or a damaged one: restore it from a backup", .0.display())]
    Corrupt(PathBuf),
    /// SQLite's check finds damage in the database.
    #[error("the database {path} is damaged ({found}): restore it from a backup", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's finding.
        found: String,
    },
    /// A later version of the gateway migrated the database.
    #[error("the database {path} has schema version {found}; this program knows {known}: use a later one", path = .path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The database's version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The file's folder does not exist.
    #[error("the folder {folder} of the database {path} does not exist: make it first", path = .0.display(), folder = .1.display())]
    NoFolder(PathBuf, PathBuf),
    /// The file system's error.
    #[error("cannot open {}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// SQLite's error.
    #[error("cannot open the database {}: {}", .0.display(), .1)]
    Sqlite(PathBuf, rusqlite::Error),
}

/// What the operator can do.
fn advice(incomplete: &Incomplete) -> String {
    format!(
        "restore the missing file or a backup; or, to serve the database without the missing commits, \
         run `driftlock migrate --accept-missing-commits {}` once",
        incomplete.acceptance()
    )
}

impl OpenError {
    /// Classifies SQLite's error of opening `path`.
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
    // Every commit writes the last page of each table again. With a longer log, fewer of these
    // versions are copied into the database. A start reads up to 16 MiB of log.
    connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    if let Some(pages) = options.pages_max {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    connection.busy_timeout(Duration::from_secs(5))?;
    keep_log_on_close(&connection, true)?;
    Ok(connection)
}

/// Sets whether closing the database keeps its write-ahead log. It is kept if opening fails, since
/// the log may still be repaired.
pub(crate) fn keep_log_on_close(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// Files up to this size are checked completely at every start, which takes less than a second. In
/// larger files only the schema and the beginning of every table are checked, so that the time of a
/// start does not grow with the file. `PRAGMA quick_check` in `sqlite3` checks a file completely.
const CHECKED_WHOLE_BYTES_MAX: i64 = 64 << 20;

/// Looks for damage.
///
/// # Errors
/// [`OpenError::Damaged`] with the first finding.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let number = |pragma| connection.query_row(pragma, (), |row| row.get::<_, i64>(0));
    let size = || Ok(number("PRAGMA page_count")? * number("PRAGMA page_size")?);
    let is_small = size().map(|size: i64| size <= CHECKED_WHOLE_BYTES_MAX);
    let checked = is_small.and_then(|is_small| match is_small {
        true => connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)),
        false => beginnings(connection).map(|()| SOUND.to_owned()),
    });
    match checked {
        Ok(found) if found == SOUND => Ok(()),
        Ok(found) => Err(OpenError::Damaged { path: path.to_owned(), found: one_line(&found) }),
        Err(error) => Err(OpenError::of(path, error)),
    }
}

const SOUND: &str = "ok";

fn one_line(found: &str) -> String {
    found.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads the beginning of every table.
fn beginnings(connection: &Connection) -> rusqlite::Result<()> {
    let query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0";
    let mut tables = connection.prepare(query)?;
    let names = tables.query_map((), |row| row.get::<_, String>(0))?;
    for name in names.collect::<rusqlite::Result<Vec<_>>>()? {
        let query = format!("SELECT count(*) FROM (SELECT * FROM \"{name}\" LIMIT 1)");
        connection.query_row(&query, (), |row| row.get::<_, i64>(0))?;
    }
    Ok(())
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
