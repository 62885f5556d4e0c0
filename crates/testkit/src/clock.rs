//! A clock in virtual time: it moves only when a test moves it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driftlock_domain::time::Timestamp;
use driftlock_domain::trusted_time::{Change, ClockStatus, Reading, TrustedTime, confirmed_after};
use driftlock_gateway::ports::Clock;

/// Virtual time; clones are the same clock.
#[derive(Debug, Clone)]
pub struct VirtualClock(Arc<Mutex<Clocks>>);

/// The wall clock and the monotonic clock of a virtual machine, and its trusted time.
#[derive(Debug)]
struct Clocks {
    reading: Reading,
    trusted: TrustedTime,
}

impl VirtualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        let reading = Reading { wall: start, monotonic: Duration::ZERO };
        let trusted = TrustedTime::start(reading, None);
        Self(Arc::new(Mutex::new(Clocks { reading, trusted })))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.clocks().advance(by);
    }

    /// Sets the wall clock forward, waits until the trusted time has followed it, and corrects the
    /// wall clock. The trusted time is then ahead and unconfirmed. As soon as the clock was
    /// advanced by [`confirmed_after`] in addition, the trusted time goes back to the wall clock
    /// and is confirmed, as in a host that begins anew.
    pub fn leap_and_return(&self, by: Duration) {
        let mut clocks = self.clocks();
        let right = clocks.reading.wall;
        clocks.set_wall(right.plus(by));
        let waited = confirmed_after(micros(by));
        clocks.advance(waited);
        clocks.set_wall(right.plus(waited));
    }

    fn clocks(&self) -> MutexGuard<'_, Clocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clocks {
    fn advance(&mut self, by: Duration) {
        self.reading.monotonic += by;
        self.set_wall(self.reading.wall.plus(by));
    }

    fn set_wall(&mut self, wall: Timestamp) {
        self.reading.wall = wall;
        if let Some(Change::MustGoBack(_)) = self.trusted.observe(self.reading) {
            self.trusted.set_back(self.reading);
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let clocks = self.clocks();
        let monotonic = micros(clocks.reading.monotonic);
        Timestamp::from_micros(clocks.trusted.offset_micros().saturating_add(monotonic))
    }

    fn status(&self) -> ClockStatus {
        self.clocks().trusted.status()
    }

    fn wall(&self) -> Timestamp {
        self.clocks().reading.wall
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("tests last no centuries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_leap_that_returned_the_clock_is_confirmed_again_in_time() {
        let start = Timestamp::from_secs(1_800_000_000);
        let clock = VirtualClock::at(start);
        let leap = Duration::from_secs(7_200);
        let needed = confirmed_after(micros(leap));
        clock.leap_and_return(leap);
        assert_eq!(clock.wall(), start.plus(needed));
        assert_eq!(clock.now(), clock.wall().plus(leap));
        let second = Duration::from_secs(1);
        clock.advance(needed.saturating_sub(second));
        assert!(!clock.status().is_confirmed);
        clock.advance(second);
        assert!(clock.status().is_confirmed);
        assert_eq!(clock.now(), clock.wall());
        assert_eq!(clock.wall(), start.plus(needed * 2));
    }
}
