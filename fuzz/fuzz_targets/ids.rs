//! See `crates/fuzz-checks/src/ids.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::ids::check(bytes));
