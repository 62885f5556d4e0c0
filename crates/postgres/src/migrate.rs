//! Migrations: numbered files, applied in order, each in one transaction, one process at a time.

use std::future::poll_fn;

use driftlock_postgres_core::{MIGRATIONS, changed};
use tokio_postgres::{AsyncMessage, Client};

use crate::error::{OpenError, full};
use crate::url::{DatabaseUrl, Driver};

/// The version that this program knows.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "there are few")]
pub const VERSION: i32 = MIGRATIONS.len() as i32;

/// The advisory lock that a migration holds, so that two migrations run one after the other.
const LOCK: i64 = 0x6472_6966_746c_6f63;

/// The oldest server version that the files support, as in `server_version_num`.
const SERVER_MIN: i32 = 150_000;

/// The result of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The version that the schema had before; 0 for none.
    pub from: i32,
    /// The version that the schema has now.
    pub to: i32,
    /// The files that were applied.
    pub applied: Vec<&'static str>,
    /// Notices of the database for the operator.
    pub notices: Vec<String>,
}

/// Brings the schema up to date.
///
/// # Errors
/// [`OpenError`]; a failed migration is rolled back.
pub fn migrate(url: &DatabaseUrl) -> Result<Migrated, OpenError> {
    migrate_to(url, VERSION)
}

/// Brings the schema to a version. A schema with a later version stays as it is.
///
/// # Errors
/// As [`migrate`].
pub fn migrate_to(url: &DatabaseUrl, version: i32) -> Result<Migrated, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = url.connect().await?;
        let driving = tokio::spawn(drive(connection));
        let migrated = apply(&client, version).await;
        drop(client);
        let notices = driving.await.unwrap_or_default();
        migrated.map(|migrated| Migrated { notices, ..migrated })
    })
}

/// Drives a connection until it ends; returns its notices. Its errors appear in the statements.
async fn drive(mut connection: Driver) -> Vec<String> {
    let mut notices = Vec::new();
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notice(notice) = message
            && notice.message().starts_with("policy ")
        {
            notices.push(notice.message().to_owned());
        }
    }
    notices
}

async fn apply(client: &Client, version: i32) -> Result<Migrated, OpenError> {
    client.execute("select pg_advisory_lock($1)", &[&LOCK]).await.map_err(OpenError::of)?;
    let before = found(client).await?;
    if before > VERSION {
        return Err(OpenError::TooNew { found: before, known: VERSION });
    }
    is_as_applied(client, before).await?;
    let mut applied = Vec::new();
    for (number, migration) in (1..=version).zip(MIGRATIONS) {
        if number <= before {
            continue;
        }
        let noted = format!(
            "update driftlock.migrations set checksum = '{}' where version = {number}",
            migration.checksum()
        );
        let sql = format!("begin;\n{}\n{noted};\ncommit;", migration.sql);
        client.batch_execute(&sql).await.map_err(|error| OpenError::Migration {
            name: migration.name,
            message: error.as_db_error().map_or_else(|| full(&error), |e| e.message().to_owned()),
        })?;
        applied.push(migration.name);
    }
    Ok(Migrated { from: before, to: before.max(version), applied, notices: Vec::new() })
}

/// Compares the checksums in the database with the files of this program.
///
/// # Errors
/// [`OpenError::Changed`] names the files that differ.
pub(crate) async fn is_as_applied(client: &Client, version: i32) -> Result<(), OpenError> {
    if version == 0 {
        return Ok(());
    }
    // Other programs, such as Supabase's, store no checksums.
    let noted = "select version, checksum from driftlock.migrations \
                 where checksum is not null order by version";
    let rows = client.query(noted, &[]).await.map_err(OpenError::of)?;
    let noted: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    match changed(&noted) {
        none if none.is_empty() => Ok(()),
        changed => Err(OpenError::Changed(changed)),
    }
}

fn is_supported(server: i32) -> Result<(), OpenError> {
    if server < SERVER_MIN { Err(OpenError::TooOld(server / 10_000)) } else { Ok(()) }
}

/// The version of a database; 0 for one that was never migrated.
///
/// # Errors
/// When the database does not answer, or its server is too old.
pub(crate) async fn found(client: &Client) -> Result<i32, OpenError> {
    let server = "select current_setting('server_version_num')::integer";
    is_supported(client.query_one(server, &[]).await.map_err(OpenError::of)?.get(0))?;
    let is_there = "select to_regclass('driftlock.migrations') is not null";
    let is_there: bool = client.query_one(is_there, &[]).await.map_err(OpenError::of)?.get(0);
    if !is_there {
        return Ok(0);
    }
    let version = "select coalesce(max(version), 0) from driftlock.migrations";
    Ok(client.query_one(version, &[]).await.map_err(OpenError::of)?.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_refused_with_what_to_install() {
        assert!(is_supported(150_000).is_ok() && is_supported(170_002).is_ok());
        let refused = is_supported(140_012).expect_err("it is too old").to_string();
        assert!(refused.contains("PostgreSQL 14; 15 or later is needed"), "{refused}");
        assert!(refused.contains("apt-get install postgresql"), "{refused}");
    }
}
