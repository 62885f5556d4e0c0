//! Migrations: numbered files, applied in order, each in one transaction.

/// All of them; the version of a database is how many it has.
pub const MIGRATIONS: [&str; 2] = [
    include_str!("../../../migrations/sqlite/0001_init.sql"),
    include_str!("../../../migrations/sqlite/0002_edge.sql"),
];
