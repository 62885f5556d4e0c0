//! See `crates/fuzz-checks/src/times.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::times::check(bytes));
