//! The embedded store: organizations, keys, usage and audit log in one SQLite file.
//!
//! One thread writes: it runs all waiting commands in one transaction and commits (group commit),
//! so that concurrent settlements share one fsync and a single one is committed at once. A few
//! threads read. Every command that reports success is committed. If a commit fails, every command
//! of its group fails, and neither disk nor memory keeps any of it.
//!
//! The file belongs to one process, by a lock on its inode and a row in it. The file
//! `DATABASE-commit` states the last commit, so that a start notices missing commits.

mod audit_log;
mod claim;
mod directory;
mod guard;
mod inbox;
mod ledger;
mod machine;
mod open;
mod own;
mod reader;
mod reports;
mod schema;
mod side_file;
mod sql;
mod store;
mod writer;

pub use open::{OpenError, Options};
pub use schema::inspect;
pub use store::SqliteStore;
