//! The fleet's store: PostgreSQL, over a pool of connections.
//!
//! A thread of its own drives the connections, so that gateways ask from any core. Settlements that
//! wait go together, one call and one commit a batch (group commit); a lone one waits for no
//! company. Every wait is bounded: for a connection, for a statement, for an answer. What nodes are
//! to forget is told by `LISTEN/NOTIFY` and polled for behind it.
//!
//! The schema is `driftlock migrate`'s business: a store that is not of this version is not opened.

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
