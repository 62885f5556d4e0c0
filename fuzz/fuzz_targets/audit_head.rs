//! See `crates/fuzz-checks/src/audit_head.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::audit_head::check(bytes));
