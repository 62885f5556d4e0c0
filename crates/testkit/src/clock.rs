//! A clock that stands until it is moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use driftlock_domain::time::Timestamp;
use driftlock_domain::trusted_time::ClockStatus;
use driftlock_gateway::ports::Clock;

/// Virtual time; clones are the same clock.
#[derive(Debug, Clone)]
pub struct VirtualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    micros: AtomicI64,
    /// How far the wall clock is ahead of the order's clock.
    wall_ahead_micros: AtomicI64,
}

impl VirtualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        let (micros, wall_ahead_micros) = (AtomicI64::new(start.micros()), AtomicI64::new(0));
        Self(Arc::new(Hands { micros, wall_ahead_micros }))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.0.micros.fetch_add(micros(by), Ordering::SeqCst);
    }

    /// The wall clock was set forward by so much and was set right again: from now on it is behind
    /// the order's clock, which does not go back.
    pub fn leap_and_return(&self, by: Duration) {
        self.advance(by);
        self.0.wall_ahead_micros.fetch_sub(micros(by), Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.micros.load(Ordering::SeqCst))
    }

    fn status(&self) -> ClockStatus {
        let wall_ahead_micros = self.0.wall_ahead_micros.load(Ordering::SeqCst);
        let is_confirmed = wall_ahead_micros.unsigned_abs() <= 600_000_000;
        ClockStatus { leaps: u64::from(!is_confirmed), wall_ahead_micros, is_confirmed }
    }

    fn wall(&self) -> Timestamp {
        let ahead = self.0.wall_ahead_micros.load(Ordering::SeqCst);
        Timestamp::from_micros(self.0.micros.load(Ordering::SeqCst).saturating_add(ahead))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("tests last no centuries")
}
