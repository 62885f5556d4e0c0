//! The process's clock: trusted time that every core reads without a lock.
//!
//! The time is the monotonic clock plus an offset. Once a second, `driftlock_domain::trusted_time`
//! decides how the offset changes if the wall clock leaps. Invariant: time never decreases, also
//! not between cores, until the host restarts with an earlier time ([`NativeClock::go_back`]).
//!
//! Timestamps from other parties are compared with the wall clock itself ([`Clock::wall`]), which
//! is right as soon as an operator corrects it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use driftlock_domain::time::Timestamp;
use driftlock_domain::trusted_time::{Change, ClockStatus, Reading, TrustedTime};
use driftlock_gateway::ports::Clock;
use tokio::sync::Notify;

/// The process's clock. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct NativeClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Microseconds to add to the monotonic clock.
    offset_micros: AtomicI64,
    time: Mutex<TrustedTime>,
    must_go_back: Notify,
}

impl NativeClock {
    /// A clock that starts at the wall clock's time. `last_commit` is the store's last one, if
    /// known.
    pub(crate) fn new(last_commit: Option<Timestamp>) -> Self {
        let time = TrustedTime::start(reading(), last_commit);
        if !time.is_confirmed() {
            let last_commit = last_commit.map(|at| at.to_string());
            tracing::warn!(
                last_commit,
                "the system clock contradicts the store's last commit: removing and sealing \
                 nothing until the clock is corrected, or for an hour",
            );
        }
        Self(Arc::new(Shared {
            offset_micros: AtomicI64::new(time.offset_micros()),
            time: Mutex::new(time),
            must_go_back: Notify::new(),
        }))
    }

    /// Compares the wall clock with the monotonic one; called about once a second.
    pub(crate) fn follow_wall_clock(&self) {
        self.observe(reading());
    }

    /// Ready when the time must go back: then the host restarts inside the process.
    pub(crate) async fn must_go_back(&self) {
        self.0.must_go_back.notified().await;
    }

    /// Sets the time to the wall clock's, even if that is earlier. No part may still hold a later
    /// time.
    pub(crate) fn go_back(&self) {
        let mut time = self.time();
        time.set_back(reading());
        self.0.offset_micros.store(time.offset_micros(), Ordering::Release);
    }

    fn observe(&self, reading: Reading) {
        let mut time = self.time();
        let change = time.observe(reading);
        self.0.offset_micros.store(time.offset_micros(), Ordering::Release);
        drop(time);
        match change {
            None => {}
            Some(Change::Leapt(by_micros, followed_after)) => tracing::error!(
                leap_secs = by_micros / 1_000_000,
                followed_after_secs = followed_after.map(|time| time.as_secs()),
                "the system clock leapt: the gateway keeps its own time for now",
            ),
            Some(Change::CameBack) => tracing::warn!("the system clock is right again"),
            Some(Change::Followed(by_micros)) => tracing::warn!(
                leap_secs = by_micros / 1_000_000,
                "the system clock kept its new time: following it",
            ),
            Some(Change::MustGoBack(by_micros)) => {
                tracing::error!(
                    leap_secs = by_micros / 1_000_000,
                    "the system clock was set back and kept its new time: restarting inside the \
                     process",
                );
                self.0.must_go_back.notify_one();
            }
            Some(Change::Confirmed) => tracing::info!("the system clock is trusted again"),
        }
    }

    fn time(&self) -> MutexGuard<'_, TrustedTime> {
        self.0.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, monotonic: Duration) -> Timestamp {
        let offset = self.0.offset_micros.load(Ordering::Acquire);
        Timestamp::from_micros(offset.saturating_add(micros(monotonic)))
    }
}

impl Clock for NativeClock {
    fn now(&self) -> Timestamp {
        self.at(monotonic())
    }

    fn wall(&self) -> Timestamp {
        reading().wall
    }

    fn status(&self) -> ClockStatus {
        self.time().status()
    }
}

fn reading() -> Reading {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros);
    Reading { wall: Timestamp::from_micros(wall), monotonic: monotonic() }
}

/// The monotonic clock. On Linux it counts the time while the machine is suspended, so that
/// waking up is no leap.
fn monotonic() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(target_os = "linux")]
    let id = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = ClockId::Monotonic;
    let time = clock_gettime(id);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clocks `secs` later, with the wall clock ahead by `wrong_secs`.
    fn later(secs: u64, wrong_secs: u64) -> Reading {
        let Reading { wall, monotonic } = reading();
        let running = Duration::from_secs(secs);
        let wall = wall.plus(running).plus(Duration::from_secs(wrong_secs));
        Reading { wall, monotonic: monotonic + running }
    }

    #[test]
    fn a_leap_is_followed_once_the_wall_clock_keeps_it() {
        let clock = NativeClock::new(None);
        let (start, days) = (reading(), 40 * 86_400);
        clock.observe(later(1, days));
        let shown = clock.at(start.monotonic);
        assert!(shown.since(start.wall) < Duration::from_secs(3_600), "{shown:?}");
        assert_eq!(clock.status().leaps, 1);
        clock.observe(later(3_700, days));
        let shown = clock.at(start.monotonic);
        assert!(shown.since(start.wall) > Duration::from_secs(days - 60), "{shown:?}");
    }

    #[test]
    fn the_wall_clock_is_shown_without_the_offset() {
        let clock = NativeClock::new(None);
        clock.observe(later(1, 7_200));
        clock.observe(later(400, 7_200));
        let (before, wall, after) = (reading().wall, clock.wall(), reading().wall);
        assert!(before <= wall && wall <= after, "{before} {wall} {after}");
        assert!(clock.now().since(wall) >= Duration::from_secs(7_000));
    }

    #[test]
    fn it_goes_back_only_when_the_host_restarts() {
        let clock = NativeClock::new(None);
        clock.observe(later(1, 7_200));
        clock.observe(later(400, 7_200));
        let ahead = clock.now();
        clock.observe(later(500, 0));
        clock.observe(later(900, 0));
        assert!(clock.now() >= ahead && !clock.status().is_confirmed);
        clock.go_back();
        assert!(ahead.since(clock.now()) > Duration::from_secs(7_000));
        assert!(clock.status().is_confirmed);
    }
}
