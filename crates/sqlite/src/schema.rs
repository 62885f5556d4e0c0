//! Migrations: numbered files, applied in order, each in one transaction.

use std::path::Path;

use driftlock_sqlite_core::MIGRATIONS;
use rusqlite::Connection;

use crate::open::OpenError;

/// The version that this program knows.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings the schema up to date; the version it had before.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<i64, OpenError> {
    let failed = |error| OpenError::of(path, error);
    let version = |connection: &Connection| {
        connection.query_row("PRAGMA user_version", (), |row| row.get::<_, i64>(0))
    };
    let before = version(connection).map_err(failed)?;
    if before > VERSION {
        return Err(OpenError::TooNew { path: path.to_owned(), found: before, known: VERSION });
    }
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
