//! The embedded store: organizations, keys, usage and audit in one SQLite file.
//!
//! One thread writes: it takes whatever waits, runs it in one transaction and commits it at once
//! (group commit), so that concurrent settlements share one fsync and a lone one waits for no
//! company. A few threads read. Whatever is answered as done is committed; if a commit fails,
//! every command of its group fails and nothing of it remains, on disk or in memory.
//!
//! The file belongs to one process, by a lock on its inode and a row in it; what its last commit was
//! is also kept beside it, so that a start notices what is missing.

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
