//! D1's schema: the same migrations as the SQLite store, each in one batch.

use driftlock_domain::denial::Fault;
use driftlock_sqlite_core::{MIGRATIONS, statements};
use worker::D1Database;

use super::prepare;

const VERSION: &str = "d1_schema_version";
/// Reads how many migrations were applied; the table exists after the first one.
pub(super) const VERSION_IN_META: &str = "SELECT coalesce(max(CAST(value AS INTEGER)), 0) AS n \
                                          FROM meta WHERE name = 'd1_schema_version'";

/// Whether a database with this version has all migrations.
pub(super) fn is_current(version: i64) -> bool {
    usize::try_from(version).is_ok_and(|version| version >= MIGRATIONS.len())
}

/// Applies missing migrations. If two isolates try at once, the batch of the second one fails, and
/// it finds the version raised.
pub(super) async fn migrate(database: &D1Database) -> Result<(), Fault> {
    let known = MIGRATIONS.len();
    loop {
        let version = version(database).await?;
        if version >= known {
            return Ok(());
        }
        let mut batch = Vec::new();
        for statement in statements(MIGRATIONS[version]) {
            batch.push(prepare(database, &statement, &[])?);
        }
        let put = "INSERT INTO meta (name, value) VALUES (?1, CAST(?2 AS BLOB)) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let next = (version + 1).to_string();
        batch.push(prepare(database, put, &[VERSION.into(), next.into()])?);
        if let Err(error) = database.batch(batch).await
            && self::version(database).await? == version
        {
            return Err(Fault::store(error));
        }
    }
}

async fn version(database: &D1Database) -> Result<usize, Fault> {
    let tables = "SELECT count(*) AS n FROM sqlite_master WHERE name = 'meta'";
    if number(database, tables).await? == 0 {
        return Ok(0);
    }
    number(database, VERSION_IN_META).await
}

async fn number(database: &D1Database, query: &str) -> Result<usize, Fault> {
    let found = database.prepare(query).first::<usize>(Some("n")).await.map_err(Fault::store)?;
    Ok(found.unwrap_or(0))
}
