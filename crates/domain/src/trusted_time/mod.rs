//! Trusted time: it follows a leap of the wall clock only after the leap is confirmed.
//!
//! The trusted time is the monotonic clock plus an offset. When the wall clock leaps, the offset
//! changes only after a confirmation: the wall clock keeps its new offset for [`confirmed_after`],
//! or, after a start with a doubtful clock, it agrees with the store's last commit. So a leap that
//! lasts seconds changes no period, expires no key and removes no data.
//!
//! Invariants: between two calls of [`TrustedTime::set_back`] the trusted time never goes back;
//! [`TrustedTime::is_confirmed`] is false while the trusted time may be ahead of the true time, and
//! then nothing is removed or sealed.

mod runs;

use std::time::Duration;

use crate::time::Timestamp;

pub use runs::Run;

/// A smaller difference of the wall clock is drift, which time synchronization corrects gradually.
const TOLERATED_MICROS: i64 = 1_000_000;
/// If the wall clock is ahead by at most this much, the trusted time follows immediately: it is a
/// step of time synchronization.
const FOLLOWED_AT_ONCE_MICROS: i64 = 5_000_000;
/// If the trusted time is ahead of the wall clock by at most this much, it stays ahead, since going
/// back requires a restart of the gateway's parts.
const STAYS_AHEAD_MICROS: i64 = 600_000_000;
const DAY_MICROS: u64 = 86_400_000_000;
/// At a start, the wall clock agrees with the store's last commit if it is at most this much later.
const IDLE_MAX: Duration = Duration::from_secs(31 * 86_400);
/// A clock that is doubtful at a start counts as correct after this time.
const DOUBTED: Duration = Duration::from_secs(3_600);
/// A wall clock before 2025-01-01 was never set.
const EARLIEST: Timestamp = Timestamp::from_secs(1_735_689_600);

/// Both clocks, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock: time since a fixed moment, including suspended time where possible.
    pub monotonic: Duration,
}

/// The result of an observation; the host logs each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The wall clock leapt by this many microseconds. The trusted time follows after this time if
    /// the wall clock keeps its new offset; with `None`, the trusted time stays ahead.
    Leapt(i64, Option<Duration>),
    /// The wall clock agrees with the trusted time again.
    CameBack,
    /// The trusted time followed the wall clock by this many microseconds.
    Followed(i64),
    /// The wall clock is this many microseconds behind, and confirmed: the host must discard its
    /// state, call [`TrustedTime::set_back`] and begin again.
    MustGoBack(i64),
    /// The clock that was doubtful at the start counts as correct now.
    Confirmed,
}

/// The clock's state, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStatus {
    /// Jumps of the wall clock since the start.
    pub leaps: u64,
    /// How far the wall clock is ahead of the trusted time, in microseconds; negative when behind.
    pub wall_ahead_micros: i64,
    /// Whether irreversible work (removing, sealing) may use the trusted time.
    pub is_confirmed: bool,
}

impl ClockStatus {
    /// A clock that never leaps.
    pub const STEADY: Self = Self { leaps: 0, wall_ahead_micros: 0, is_confirmed: true };
}

/// The trusted time; see the module's header.
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

/// A leap: the wall clock's offset differs from that of the trusted time.
#[derive(Debug, Clone, Copy)]
struct Leap {
    offset_micros: i64,
    since: Duration,
    is_reported: bool,
}

/// How long the wall clock must keep its new offset after a leap of this many microseconds before
/// the trusted time follows.
#[must_use]
pub const fn confirmed_after(leap_micros: i64) -> Duration {
    if leap_micros.unsigned_abs() <= DAY_MICROS {
        Duration::from_secs(300)
    } else {
        Duration::from_secs(3_600)
    }
}

impl TrustedTime {
    /// Begins at the wall clock's time. `last_commit` is the store's last commit, if it is known.
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

    /// The clock's state, for operators.
    #[must_use]
    pub fn status(&self) -> ClockStatus {
        let Self { leaps, wall_ahead_micros, .. } = *self;
        ClockStatus { leaps, wall_ahead_micros, is_confirmed: self.is_confirmed() }
    }

    /// Whether irreversible work may use the trusted time.
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
        // A step of time synchronization. If the wall clock is behind by as little, the trusted
        // time keeps its offset.
        if ahead > TOLERATED_MICROS {
            self.offset_micros = offset(reading);
            self.wall_ahead_micros = 0;
        }
        let came_back = self.leap.take().map(|_| Change::CameBack);
        came_back.or_else(|| self.confirm(reading))
    }

    /// Sets the trusted time to the wall clock's, which may be earlier: the caller must have
    /// discarded all state that contains trusted times.
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

    /// Whether the wall clock is plausible: after 2025 and not too far from the last commit.
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
