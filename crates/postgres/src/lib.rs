//! The store of a fleet: PostgreSQL over a connection pool.
//!
//! One thread drives the connections for all cores. Waiting settlements are sent together, one call
//! and one commit per batch (group commit); a single settlement is sent at once. All waits are
//! bounded: for a connection, for a statement, for an answer. Nodes learn of changes by
//! `LISTEN/NOTIFY` and by polling.
//!
//! `driftlock migrate` applies the schema. A store with another schema version is not opened.

mod changes;
mod connections;
mod error;
mod migrate;
mod open;
mod pool;
mod settler;
mod url;

pub use connections::Connections;
pub use error::OpenError;
pub use migrate::{Migrated, VERSION, migrate, migrate_to};
pub use open::{PostgresStore, check, open};
pub use url::{DatabaseUrl, MalformedUrl};

pub use driftlock_postgres_core::{Change, MIGRATIONS, Migration, Timing};
