//! See `crates/fuzz-checks/src/config.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::config::check(bytes));
