//! See `crates/fuzz-checks/src/path_route.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::path_route::check(bytes));
