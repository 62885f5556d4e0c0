//! Migrations: numbered files, applied in order, each in one transaction, one process at a time.

use std::future::poll_fn;

use driftlock_postgres_core::MIGRATIONS;
use tokio_postgres::{AsyncMessage, Client};

use crate::error::{OpenError, full};
use crate::url::{DatabaseUrl, Driver};

/// The version that this program knows.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "there are few")]
pub const VERSION: i32 = MIGRATIONS.len() as i32;

/// Names the lock that a migration holds, so that two at once come one after the other.
const LOCK: i64 = 0x6472_6966_746c_6f63;

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The version that the schema had before; 0 for none.
    pub from: i32,
    /// The version that it has now.
    pub to: i32,
    /// The files that were applied.
    pub applied: Vec<&'static str>,
    /// What the database remarked that an operator should know.
    pub notices: Vec<String>,
}

/// Brings the schema up to date.
///
/// # Errors
/// [`OpenError`]; a migration that fails leaves nothing behind.
pub fn migrate(url: &DatabaseUrl) -> Result<Migrated, OpenError> {
    migrate_to(url, VERSION)
}

/// Brings the schema to a version, or leaves it at a later one.
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

/// Drives a connection to its end; its notices. What goes wrong with it, a statement tells.
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
    let mut applied = Vec::new();
    for (number, migration) in (1..=version).zip(MIGRATIONS) {
        if number <= before {
            continue;
        }
        let sql = format!("begin;\n{}\ncommit;", migration.sql);
        client.batch_execute(&sql).await.map_err(|error| OpenError::Migration {
            name: migration.name,
            message: error.as_db_error().map_or_else(|| full(&error), |e| e.message().to_owned()),
        })?;
        applied.push(migration.name);
    }
    Ok(Migrated { from: before, to: before.max(version), applied, notices: Vec::new() })
}

/// The version of a database; 0 for one that was never migrated.
pub(crate) async fn found(client: &Client) -> Result<i32, OpenError> {
    let is_there = "select to_regclass('driftlock.migrations') is not null";
    let is_there: bool = client.query_one(is_there, &[]).await.map_err(OpenError::of)?.get(0);
    if !is_there {
        return Ok(0);
    }
    let version = "select coalesce(max(version), 0) from driftlock.migrations";
    Ok(client.query_one(version, &[]).await.map_err(OpenError::of)?.get(0))
}
