//! Detection of clock leaps on a host without a monotonic clock (the Worker): a job that runs every
//! minute compares its time with that of the previous run, and removes nothing for an hour after a
//! leap.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::time::Timestamp;

/// Runs are a minute apart; a longer gap than this is a leap, or an outage.
const GAP_MAX: Duration = Duration::from_secs(3_600);
/// After a leap nothing is removed for this long.
const HOLD: Duration = Duration::from_secs(3_600);
/// The clocks of two machines may differ: a clock that goes back by at most this is no leap.
const BACK_MAX: Duration = Duration::from_secs(5);

/// A run of the job, stored for the next run; as text `AT,HELD_UNTIL` in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The time of the run.
    pub at: Timestamp,
    /// Nothing is removed before this.
    pub held_until: Timestamp,
}

impl Run {
    /// The run at `now`, after `last`.
    #[must_use]
    pub fn after(last: Option<Self>, now: Timestamp) -> Self {
        let Some(last) = last else { return Self { at: now, held_until: now } };
        let leapt = now.since(last.at) > GAP_MAX || last.at.since(now) > BACK_MAX;
        let held_until = if leapt { now.plus(HOLD) } else { last.held_until };
        Self { at: now, held_until }
    }

    /// Whether this run may do irreversible work.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.at >= self.held_until
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.at.micros(), self.held_until.micros())
    }
}

impl FromStr for Run {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, held_until) = text.split_once(',').unwrap_or((text, text));
        let time = |text: &str| text.parse().map(Timestamp::from_micros);
        Ok(Self { at: time(at)?, held_until: time(held_until)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_between_two_runs_postpones_irreversible_work_for_an_hour() {
        let start = Timestamp::from_secs(1_800_000_000);
        let minute = Duration::from_secs(60);
        let first = Run::after(None, start);
        assert!(first.is_confirmed());
        let mut run = Run::after(Some(first), start.plus(minute));
        assert!(run.is_confirmed());
        let days = Duration::from_secs(800 * 86_400);
        let leapt = Run::after(Some(run), run.at.plus(days));
        assert!(!leapt.is_confirmed());
        run = Run::after(Some(leapt), start.plus(minute * 2));
        assert!(!run.is_confirmed(), "going back is a leap, too");
        for _ in 0..59 {
            run = Run::after(Some(run), run.at.plus(minute));
            assert!(!run.is_confirmed());
        }
        run = Run::after(Some(run), run.at.plus(minute));
        assert!(run.is_confirmed(), "an hour is over");
        assert_eq!(run.to_string().parse(), Ok(run));
    }
}
