//! The schema of an object's database, and its notes in the table `meta`.

use driftlock_domain::denial::Fault;
use driftlock_sqlite_core::{MIGRATIONS, Sql};

const VERSION: &str = "schema_version";
const SHIPPED: &str = "audit_outbox_shipped";

/// Applies the migrations that the database does not have yet; inside a transaction.
pub(super) fn migrate(sql: &impl Sql) -> Result<(), Fault> {
    let tables = "SELECT count(*) FROM sqlite_master WHERE name = 'meta'";
    let version = match sql.first(tables, &[], |row| row.int(0))? {
        Some(1) => note(sql, VERSION)?,
        _ => 0,
    };
    let known = MIGRATIONS.len() as i64;
    if version > known {
        let cause = format!("the object's schema is version {version}, this program knows {known}");
        return Err(Fault::store(cause));
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        sql.execute(migration, &[])?;
    }
    if version < known { set_note(sql, VERSION, known) } else { Ok(()) }
}

/// The number of the last row of the directory's audit outbox that was appended to the chain.
pub(super) fn shipped(sql: &impl Sql) -> Result<i64, Fault> {
    note(sql, SHIPPED)
}

pub(super) fn set_shipped(sql: &impl Sql, number: i64) -> Result<(), Fault> {
    set_note(sql, SHIPPED, number)
}

fn note(sql: &impl Sql, name: &str) -> Result<i64, Fault> {
    let query = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1";
    Ok(sql.first(query, &[name.into()], |row| row.int(0))?.unwrap_or(0))
}

fn set_note(sql: &impl Sql, name: &str, value: i64) -> Result<(), Fault> {
    let put = "INSERT INTO meta (name, value) VALUES (?1, CAST(?2 AS BLOB)) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sql.execute(put, &[name.into(), value.to_string().into()]).map(drop)
}
