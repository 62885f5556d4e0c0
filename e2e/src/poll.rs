//! Waiting for what is eventual: asked again and again until it holds or the deadline passes.

use std::time::{Duration, Instant};

/// Within this time every eventual thing has happened, on a slow machine too.
pub const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// What `probe` finds at last.
///
/// # Panics
/// When it still finds nothing at the deadline.
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
