//! The embedded store: organizations, keys, usage and audit in one SQLite file.
//!
//! One thread writes: it takes whatever waits, runs it in one transaction and commits it at once
//! (group commit), so that concurrent settlements share one fsync and a lone one waits for no
//! company. A few threads read. Whatever is answered as done is committed; if a commit fails,
//! every command of its group fails and nothing of it remains, on disk or in memory.
//!
//! The file belongs to one process, by a lock file beside it.

mod audit_log;
mod directory;
mod inbox;
mod ledger;
mod open;
mod own;
mod reader;
mod reports;
mod schema;
mod sql;
mod store;
mod writer;

pub use open::{OpenError, Options};
pub use schema::versions;
pub use store::SqliteStore;
