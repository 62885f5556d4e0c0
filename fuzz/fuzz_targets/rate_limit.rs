//! See `crates/fuzz-checks/src/rate_limit.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::rate_limit::check(bytes));
