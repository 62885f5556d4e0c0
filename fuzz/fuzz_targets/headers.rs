//! See `crates/fuzz-checks/src/headers.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::headers::check(bytes));
