//! Time in tests: polling for eventual effects, and measuring times that have a published bound.
//!
//! No test may fail because the machine is slow. So a test asserts that something happens at all,
//! within
//! [`DEADLINE`], and [`within`] compares the time taken with the published bound only where a proof
//! asks for it (`cargo xtask prove times`, on a machine with nothing else to do).

use std::time::{Duration, Instant};

/// Every eventual effect must occur within this time, also on a slow machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Polls `probe` until it returns a value; returns the value.
///
/// # Panics
/// When there is no value at the deadline.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Prints how long something took, as a figure. A proof also compares it with the published bound.
///
/// # Panics
/// In a proof when it took longer than the bound; anywhere when it took longer than [`DEADLINE`] or
/// the bound, whichever is greater.
pub fn within(what: &str, took: Duration, bound: Duration) {
    eprintln!("figure {what}, ms = {:.1}", took.as_secs_f64() * 1_000.0);
    let is_proof = std::env::var_os("DRIFTLOCK_TIMES").is_some_and(|value| value == "strict");
    let most = if is_proof { bound } else { bound.max(DEADLINE) };
    assert!(took <= most, "{what}: {took:?}, more than {most:?}");
}
