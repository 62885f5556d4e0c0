//! The embedded store's file: which process may serve it ([`owner`]), and whether its history is
//! complete ([`commitment`]).
//!
//! Both are decided from records that `driftlock-sqlite` reads and writes: a row in the database
//! and a small file beside it.

pub mod commitment;
pub mod owner;
