//! Trusted time: what a wall clock that leaps may change, and when.
//!
//! The trusted time is the monotonic clock plus an offset. A wall clock that leaps does not move it
//! until the leap is confirmed: by time (the wall clock stands at its new place for
//! [`confirmed_after`]), or, after a start with a doubtful clock, by agreeing with the store's last
//! commit. So a leap for seconds turns no period, lets no key expire and removes nothing.
//!
//! Invariants: between two calls of [`TrustedTime::set_back`] the trusted time never goes back;
//! [`TrustedTime::is_confirmed`] is false while the trusted time may be ahead of the true one, and
//! then nothing is removed or sealed by it.

mod runs;

use std::time::Duration;

use crate::time::Timestamp;

pub use runs::Run;

/// A wall clock that differs by less is drift, which time synchronization slews away.
const TOLERATED_MICROS: i64 = 1_000_000;
/// A wall clock that is ahead by at most this much is followed at once: a step of time
/// synchronization.
const FOLLOWED_AT_ONCE_MICROS: i64 = 5_000_000;
/// A trusted time that is ahead of the wall clock by at most this much stays so: to go back, the
/// gateway has to begin anew.
const STAYS_AHEAD_MICROS: i64 = 600_000_000;
const DAY_MICROS: u64 = 86_400_000_000;
/// The wall clock at a start agrees with the store's last commit if it is at most so much later.
const IDLE_MAX: Duration = Duration::from_secs(31 * 86_400);
/// A doubtful clock at a start counts as right after so long.
const DOUBTED: Duration = Duration::from_secs(3_600);
/// A wall clock before 2025-01-01 is not set.
const EARLIEST: Timestamp = Timestamp::from_secs(1_735_689_600);

/// Both clocks, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock: time since any fixed moment, suspended time included where that can be.
    pub monotonic: Duration,
}

/// What an observation changed; each is to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The wall clock leapt by so many microseconds, and is followed after this time if it stays
    /// there; `None`: the trusted time stays ahead.
    Leapt(i64, Option<Duration>),
    /// The wall clock is back where the trusted time is.
    CameBack,
    /// The trusted time followed by so many microseconds.
    Followed(i64),
    /// The wall clock is so many microseconds behind, and right: the host begins anew, and calls
    /// [`TrustedTime::set_back`] in between.
    MustGoBack(i64),
    /// The clock that was doubtful at the start counts as right.
    Confirmed,
}

/// What operators see of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStatus {
    /// Leaps of the wall clock since the start.
    pub leaps: u64,
    /// How far the wall clock is ahead of the trusted time, in microseconds; negative when behind.
    pub wall_ahead_micros: i64,
    /// Whether the time may be used for what cannot be undone.
    pub is_confirmed: bool,
}

impl ClockStatus {
    /// A clock that never leaps.
    pub const STEADY: Self = Self { leaps: 0, wall_ahead_micros: 0, is_confirmed: true };
}

/// See the module.
#[derive(Debug, Clone)]
pub struct TrustedTime {
    offset_micros: i64,
    wall_ahead_micros: i64,
    leap: Option<Leap>,
    leaps: u64,
    last_commit: Option<Timestamp>,
    started: Duration,
    is_doubtful: bool,
}

/// A wall clock at another place than the trusted time.
#[derive(Debug, Clone, Copy)]
struct Leap {
    offset_micros: i64,
    since: Duration,
    is_reported: bool,
}

/// How long the wall clock must stand after a leap of so many microseconds until it is followed.
#[must_use]
pub const fn confirmed_after(leap_micros: i64) -> Duration {
    if leap_micros.unsigned_abs() <= DAY_MICROS {
        Duration::from_secs(300)
    } else {
        Duration::from_secs(3_600)
    }
}

impl TrustedTime {
    /// Begins at the wall clock's time. `last_commit` is the store's last commit, where it is
    /// known.
    #[must_use]
    pub fn start(reading: Reading, last_commit: Option<Timestamp>) -> Self {
        let mut time = Self {
            offset_micros: offset(reading),
            wall_ahead_micros: 0,
            leap: None,
            leaps: 0,
            last_commit,
            started: reading.monotonic,
            is_doubtful: false,
        };
        time.is_doubtful = !time.agrees(reading);
        time
    }

    /// Microseconds that the trusted time is ahead of the monotonic clock.
    #[must_use]
    pub const fn offset_micros(&self) -> i64 {
        self.offset_micros
    }

    /// What operators see.
    #[must_use]
    pub fn status(&self) -> ClockStatus {
        let Self { leaps, wall_ahead_micros, .. } = *self;
        ClockStatus { leaps, wall_ahead_micros, is_confirmed: self.is_confirmed() }
    }

    /// Whether what cannot be undone may be done by the trusted time.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        !self.is_doubtful && self.wall_ahead_micros >= -STAYS_AHEAD_MICROS
    }

    /// Takes a reading; to be called about once a second.
    pub fn observe(&mut self, reading: Reading) -> Option<Change> {
        let ahead = offset(reading).saturating_sub(self.offset_micros);
        self.wall_ahead_micros = ahead;
        if ahead.saturating_abs() > FOLLOWED_AT_ONCE_MICROS {
            return self.leapt(reading, ahead);
        }
        // A step of time synchronization. Behind by as little, the trusted time stays where it is.
        if ahead > TOLERATED_MICROS {
            self.offset_micros = offset(reading);
            self.wall_ahead_micros = 0;
        }
        let came_back = self.leap.take().map(|_| Change::CameBack);
        came_back.or_else(|| self.confirm(reading))
    }

    /// Goes to the wall clock's time, also back: nothing may remember the trusted time any more.
    pub fn set_back(&mut self, reading: Reading) {
        self.offset_micros = offset(reading);
        (self.leap, self.is_doubtful, self.wall_ahead_micros) = (None, false, 0);
    }

    fn leapt(&mut self, reading: Reading, ahead: i64) -> Option<Change> {
        let place = offset(reading);
        let is_same =
            |leap: &Leap| leap.offset_micros.saturating_sub(place).abs() <= TOLERATED_MICROS;
        let known = self.leap.filter(is_same);
        let leap = known.unwrap_or_else(|| {
            self.leaps += 1;
            Leap { offset_micros: place, since: reading.monotonic, is_reported: false }
        });
        self.leap = Some(leap);
        let stays_ahead = (-STAYS_AHEAD_MICROS..0).contains(&ahead);
        let needed = confirmed_after(ahead);
        let stood = reading.monotonic.saturating_sub(leap.since) >= needed;
        if !stays_ahead && (stood || self.is_doubtful && self.agrees(reading)) {
            return self.follow(reading, ahead);
        }
        known.is_none().then_some(Change::Leapt(ahead, (!stays_ahead).then_some(needed)))
    }

    fn follow(&mut self, reading: Reading, ahead: i64) -> Option<Change> {
        if ahead < 0 {
            let leap = self.leap.as_mut()?;
            let is_new = !std::mem::replace(&mut leap.is_reported, true);
            return is_new.then_some(Change::MustGoBack(ahead));
        }
        self.set_back(reading);
        Some(Change::Followed(ahead))
    }

    fn confirm(&mut self, reading: Reading) -> Option<Change> {
        let is_over = reading.monotonic.saturating_sub(self.started) >= DOUBTED;
        if !self.is_doubtful || !is_over {
            return None;
        }
        self.is_doubtful = false;
        Some(Change::Confirmed)
    }

    /// Whether the wall clock fits what is known otherwise.
    fn agrees(&self, reading: Reading) -> bool {
        let wall = reading.wall;
        let running = reading.monotonic.saturating_sub(self.started);
        let tolerated = Duration::from_micros(FOLLOWED_AT_ONCE_MICROS.unsigned_abs());
        let fits = |last: Timestamp| {
            wall >= last.minus(tolerated) && wall <= last.plus(running).plus(IDLE_MAX)
        };
        wall >= EARLIEST && self.last_commit.is_none_or(fits)
    }
}

fn offset(reading: Reading) -> i64 {
    let monotonic = i64::try_from(reading.monotonic.as_micros()).unwrap_or(i64::MAX);
    reading.wall.micros().saturating_sub(monotonic)
}

#[cfg(test)]
mod tests;
