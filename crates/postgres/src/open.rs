//! Opening the store.

use driftlock_domain::config::Durability;
use driftlock_postgres_core::{FunctionStore, Timing};

use crate::connections::Connections;
use crate::error::OpenError;
use crate::migrate::{VERSION, found, is_as_applied};
use crate::pool::Database;
use crate::url::DatabaseUrl;

/// The store over PostgreSQL; clones are the same one.
pub type PostgresStore = FunctionStore<Connections>;

/// Opens a database that was migrated to this program's version. `durability` decides whether
/// commits survive a crash of the database's process or machine.
///
/// # Errors
/// [`OpenError`] says what is wrong and what to do.
pub fn open(
    url: &DatabaseUrl,
    timing: Timing,
    durability: Durability,
) -> Result<PostgresStore, OpenError> {
    check(url)?;
    let connections = Connections::start(url.clone(), Database::new(url, durability)?)?;
    Ok(FunctionStore::new(connections, timing))
}

/// Checks that a database can be reached and has the schema of this program. Changes nothing.
///
/// # Errors
/// As [`open`].
pub fn check(url: &DatabaseUrl) -> Result<(), OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let version = runtime.block_on(async {
        let (client, connection) = url.connect().await?;
        let driving = tokio::spawn(connection);
        let version = async {
            let version = found(&client).await?;
            if version == VERSION {
                is_as_applied(&client, version).await?;
            }
            Ok::<_, OpenError>(version)
        };
        let version = version.await;
        driving.abort();
        version
    })?;
    match version {
        found if found < VERSION => Err(OpenError::NotMigrated { found, known: VERSION }),
        found if found > VERSION => Err(OpenError::TooNew { found, known: VERSION }),
        _ => Ok(()),
    }
}
