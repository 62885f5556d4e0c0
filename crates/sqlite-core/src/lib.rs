//! The ledger and the directory in SQLite's dialect, for all hosts of SQLite: a file of the native
//! server, a Durable Object's storage, and D1.
//!
//! This crate has the statements, reads their rows and decides the order of statements. A host
//! implements [`Sql`], opens transactions and decides when to commit. Nothing here waits or reads a
//! clock.

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
