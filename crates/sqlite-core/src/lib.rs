//! The book of record in SQLite's dialect, whoever runs the SQLite: a file on the native host, a
//! Durable Object's storage or D1 at the edge.
//!
//! Statements, the rows they yield and the order in which they run are here, once; a host brings
//! [`Sql`], transactions, and the decision of when to commit. Nothing here waits or reads a clock.

pub mod alerts;
mod audit;
pub mod conflict;
mod counters;
mod directory;
mod idempotency;
pub mod inbox;
mod ledger_cache;
pub mod meter;
mod period;
mod rows;
mod schema;
mod settle;
pub mod shipment;
mod sql;
mod usage;

pub use audit::{checkpoint, entries, head};
pub use directory::{
    CALLER_BY_HASH, KEY_BY_HASH, KEY_BY_ID, KEY_COLUMNS, KEY_EXISTS, KEYS_OF_ORGANIZATION,
    ORGANIZATION_BY_ID, ORGANIZATIONS, REVISION, REVOKE_KEY, TOUCH_KEY, insert_key,
    insert_organization, update_organization,
};
pub use idempotency::{PURGED_MAX, drop_answers, kept, kept_bytes, purge_kept};
pub use ledger_cache::{Group, LedgerCache};
pub use rows::{key, organization};
pub use schema::{MIGRATIONS, statements};
pub use sql::{Cell, Columns, Rest, Row, Sql, Statement, Value};
pub use usage::{receipt, summary};
