//! See `crates/fuzz-checks/src/stripe_event.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftlock_fuzz_checks::stripe_event::check(bytes));
