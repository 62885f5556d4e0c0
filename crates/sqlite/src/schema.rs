//! Migrations: numbered files, applied in order, each in one transaction.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use driftlock_sqlite_core::MIGRATIONS;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, access};

use crate::open::{OpenError, check};
use crate::{claim, own};

/// The version that this program knows.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Checks a database file as [`SqliteStore::open`] would, and changes nothing. Returns the version
/// of its schema (0 if there is no file) and the version of this program, to which opening migrates
/// it.
///
/// # Errors
/// [`OpenError`], as opening. It is no error that another process has the file open. With
/// `accept_missing`, missing commits are no error: opening compares the number.
///
/// [`SqliteStore::open`]: crate::SqliteStore::open
pub fn inspect(path: &Path, accept_missing: Option<u64>) -> Result<(i64, i64), OpenError> {
    if !is_there(path)? {
        return Ok((0, VERSION));
    }
    let path = &path.canonicalize().map_err(|error| OpenError::Io(path.to_owned(), error))?;
    let failed = |error| OpenError::of(path, error);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.map_err(failed)?;
    let found = version(&connection).map_err(failed)?;
    is_known(found, path)?;
    check(&connection, path)?;
    // The process that serves the file compared it when it started. By another name of the file its
    // statement of the last commit is not found; opening the file then names that process.
    let is_owned = own::is_owned(path).map_err(|error| OpenError::Io(path.to_owned(), error))?;
    if accept_missing.is_none() && !is_owned {
        claim::inspect(&connection, path)?;
    }
    Ok((found, VERSION))
}

/// Whether the file exists. Fails if it cannot be written, or if it cannot be created.
fn is_there(path: &Path) -> Result<bool, OpenError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly(path.to_owned())
        }
        _ => OpenError::Io(path.to_owned(), error),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if folder.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(OpenError::NoFolder(path.to_owned(), folder.to_owned()));
    }
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let is_there = match opened {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed(error)),
    };
    // SQLite's log and the file `DATABASE-commit` are created in the same folder.
    let may_write = access(folder, Access::WRITE_OK | Access::EXEC_OK);
    may_write.map_err(|error| failed(error.into()))?;
    Ok(is_there)
}

/// Checks that this program knows the version of a database's schema.
pub(crate) fn known(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    is_known(version(connection).map_err(|error| OpenError::of(path, error))?, path)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", (), |row| row.get(0))
}

fn is_known(found: i64, path: &Path) -> Result<(), OpenError> {
    if found > VERSION {
        return Err(OpenError::TooNew { path: path.to_owned(), found, known: VERSION });
    }
    Ok(())
}

/// Brings the schema up to date; returns the version it had before.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<i64, OpenError> {
    let failed = |error| OpenError::of(path, error);
    let before = version(connection).map_err(failed)?;
    is_known(before, path)?;
    for (index, migration) in
        MIGRATIONS.iter().enumerate().skip(usize::try_from(before).unwrap_or(0))
    {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(migration).map_err(failed)?;
        transaction.pragma_update(None, "user_version", index + 1).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    // A file that opens may still be read-only: find out now.
    connection.execute_batch("BEGIN IMMEDIATE; COMMIT").map_err(failed)?;
    Ok(before)
}
