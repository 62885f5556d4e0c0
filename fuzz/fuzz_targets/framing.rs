//! See `crates/fuzz-checks/src/framing.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::framing::check(bytes));
