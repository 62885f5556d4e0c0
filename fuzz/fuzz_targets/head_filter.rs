//! See `crates/fuzz-checks/src/head_filter.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::head_filter::check(bytes));
