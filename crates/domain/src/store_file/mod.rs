//! The embedded store's database file: which process may use it ([`owner`]), and whether its
//! history is complete ([`commitment`]).
//!
//! Both are decided from records that `driftlock-sqlite` reads and writes: a row in the database,
//! and a small file beside the database.

pub mod commitment;
pub mod owner;
