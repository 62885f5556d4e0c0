//! What every store has to do, as a suite that each runs; and what tests need: a clock that is set,
//! and makers of ordinary records.

pub mod clock;
pub mod conformance;
pub mod make;
