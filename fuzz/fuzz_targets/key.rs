//! See `crates/fuzz-checks/src/key.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::key::check(bytes));
