//! Migrations: numbered files, applied in order, each in one transaction.

use std::path::Path;

use driftlock_sqlite_core::MIGRATIONS;
use rusqlite::{Connection, OpenFlags};

use crate::claim;
use crate::open::OpenError;

/// The version that this program knows.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The version of a database file's schema and the one of this program, which [`SqliteStore::open`]
/// brings it to; 0 for a file that is not there. Nothing is changed.
///
/// # Errors
/// [`OpenError`], also when a later version of the gateway made it, or commits are missing in it.
///
/// [`SqliteStore::open`]: crate::SqliteStore::open
pub fn versions(path: &Path) -> Result<(i64, i64), OpenError> {
    let path = &match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, VERSION)),
        Err(error) => return Err(OpenError::Io(path.to_owned(), error)),
    };
    let failed = |error| OpenError::of(path, error);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = connection.map_err(failed)?;
    let found = version(&connection).map_err(failed)?;
    is_known(found, path)?;
    claim::inspect(&connection, path)?;
    Ok((found, VERSION))
}

/// Whether this program knows the version of a database's schema.
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

/// Brings the schema up to date; the version it had before.
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
    // A file that opens may still refuse to be written to: that is found out now.
    connection.execute_batch("BEGIN IMMEDIATE; COMMIT").map_err(failed)?;
    Ok(before)
}
