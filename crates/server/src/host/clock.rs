//! A wall clock that never goes backwards, read without a lock by every core.
//!
//! The time is the monotonic clock plus an offset that only ever grows: a wall clock that was set
//! forward (or a machine that slept) is followed, one that was set back is not, since periods,
//! receipts and audit rows must stay in order. Invariant: of two readings, the later one is not
//! less, whichever cores took them.
//!
//! What an outside party states a time for is judged by the system's wall clock itself
//! ([`Clock::wall`]): it is right again as soon as somebody corrects it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::Clock;

/// A wall clock that is ahead by less is drift that time synchronization slews away.
const AHEAD_TOLERATED: Duration = Duration::from_secs(1);

/// The process's clock; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct NativeClock(Arc<Anchor>);

#[derive(Debug)]
struct Anchor {
    started: Instant,
    /// Microseconds since the epoch at `started`; only grows.
    offset_micros: AtomicI64,
}

impl NativeClock {
    /// A clock that shows the wall clock's time.
    pub(crate) fn new() -> Self {
        let offset_micros = AtomicI64::new(wall_micros(SystemTime::now()));
        Self(Arc::new(Anchor { started: Instant::now(), offset_micros }))
    }

    /// Follows a wall clock that was set forward; called about once a second.
    pub(crate) fn follow_wall_clock(&self) {
        self.follow(SystemTime::now(), Instant::now());
    }

    fn follow(&self, wall: SystemTime, now: Instant) {
        let since_start = micros(now.saturating_duration_since(self.0.started));
        let offset = wall_micros(wall).saturating_sub(since_start);
        let known = self.0.offset_micros.load(Ordering::Relaxed);
        if offset.saturating_sub(known) > micros(AHEAD_TOLERATED) {
            self.0.offset_micros.fetch_max(offset, Ordering::AcqRel);
        }
    }

    fn at(&self, now: Instant) -> Timestamp {
        let since_start = micros(now.saturating_duration_since(self.0.started));
        let offset = self.0.offset_micros.load(Ordering::Acquire);
        Timestamp::from_micros(offset.saturating_add(since_start))
    }
}

impl Clock for NativeClock {
    fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(wall_micros(SystemTime::now()))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A wall clock before 1970 counts as 1970.
fn wall_micros(wall: SystemTime) -> i64 {
    wall.duration_since(UNIX_EPOCH).map_or(0, micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(clock: &NativeClock) -> (Instant, SystemTime) {
        let offset = clock.0.offset_micros.load(Ordering::Relaxed);
        let micros = u64::try_from(offset).expect("after 1970");
        (clock.0.started, UNIX_EPOCH + Duration::from_micros(micros))
    }

    #[test]
    fn follows_a_wall_clock_set_forward() {
        let clock = NativeClock::new();
        let (started, wall) = parts(&clock);
        let before = clock.at(started);
        clock.follow(wall + Duration::from_secs(3_600), started);
        assert_eq!(clock.at(started), before.plus(Duration::from_secs(3_600)));
    }

    #[test]
    fn leaves_drift_alone() {
        let clock = NativeClock::new();
        let (started, wall) = parts(&clock);
        let before = clock.at(started);
        clock.follow(wall + Duration::from_millis(900), started);
        assert_eq!(clock.at(started), before);
    }

    #[test]
    fn after_a_leap_that_was_taken_back_only_the_order_stays_ahead() {
        let clock = NativeClock::new();
        clock.follow(SystemTime::now() + Duration::from_secs(3_600), Instant::now());
        let before = wall_micros(SystemTime::now());
        let wall = clock.wall();
        let after = wall_micros(SystemTime::now());
        assert!(before <= wall.micros() && wall.micros() <= after, "{before} {wall:?} {after}");
        assert!(clock.now().since(wall) >= Duration::from_secs(3_599));
    }

    #[test]
    fn never_goes_backwards() {
        let clock = NativeClock::new();
        let (started, wall) = parts(&clock);
        let before = clock.at(started);
        clock.follow(wall - Duration::from_secs(3_600), started);
        assert_eq!(clock.at(started), before);
    }
}
