//! D1's schema: the migrations that an embedded store has, each in one batch.

use driftlock_domain::denial::Fault;
use driftlock_sqlite_core::{MIGRATIONS, statements};
use worker::D1Database;

use super::prepare;

const VERSION: &str = "d1_schema_version";
/// How many migrations the database has, once it has the first.
pub(super) const VERSION_IN_META: &str = "SELECT coalesce(max(CAST(value AS INTEGER)), 0) AS n FROM meta \
                                          WHERE name = 'd1_schema_version'";

/// Whether nothing is missing of a database with so many.
pub(super) fn is_current(version: i64) -> bool {
    usize::try_from(version).is_ok_and(|version| version >= MIGRATIONS.len())
}

/// Applies what is missing. Two isolates may try at once: the one that comes second finds it done.
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
