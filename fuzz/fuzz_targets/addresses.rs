//! See `crates/fuzz-checks/src/addresses.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::addresses::check(bytes));
