//! Opening the store.

use driftlock_postgres_core::{FunctionStore, Timing};

use crate::connections::Connections;
use crate::error::{OpenError, full};
use crate::migrate::{VERSION, found};
use crate::pool;
use crate::url::DatabaseUrl;

/// The store over PostgreSQL; clones are the same one.
pub type PostgresStore = FunctionStore<Connections>;

/// Opens a database that was migrated to this program's version.
///
/// # Errors
/// [`OpenError`] says what is wrong with it, and what to do.
pub fn open(url: &DatabaseUrl, timing: Timing) -> Result<PostgresStore, OpenError> {
    check(url)?;
    let connections = Connections::start(url.clone(), pool::make(url)?)?;
    Ok(FunctionStore::new(connections, timing))
}

fn check(url: &DatabaseUrl) -> Result<(), OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let version = runtime.block_on(async {
        let away = |error: tokio_postgres::Error| OpenError::Away(full(&error));
        let (client, connection) = url.config().connect(url.tls()?).await.map_err(away)?;
        let driving = tokio::spawn(connection);
        let version = found(&client).await;
        driving.abort();
        version
    })?;
    match version {
        found if found < VERSION => Err(OpenError::NotMigrated { found, known: VERSION }),
        found if found > VERSION => Err(OpenError::TooNew { found, known: VERSION }),
        _ => Ok(()),
    }
}
