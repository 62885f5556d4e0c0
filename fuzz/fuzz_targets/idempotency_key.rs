//! See `crates/fuzz-checks/src/idempotency_key.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::idempotency_key::check(bytes));
