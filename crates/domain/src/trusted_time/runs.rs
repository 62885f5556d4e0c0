//! The same for a host without a monotonic clock: a job that runs every minute compares the time of
//! each run with that of the run before, and removes nothing for an hour after a leap.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::time::Timestamp;

/// Runs are a minute apart; a longer gap than this is a leap, or an outage.
const GAP_MAX: Duration = Duration::from_secs(3_600);
/// After a leap nothing is removed for so long.
const HOLD: Duration = Duration::from_secs(3_600);
/// A clock that goes back by less was only read by another machine.
const BACK_MAX: Duration = Duration::from_secs(5);

/// A run of the job, as it is noted for the next one; `AT,HELD_UNTIL` in microseconds as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it was.
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

    /// Whether what cannot be undone may be done in this run.
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
    fn a_leap_between_two_runs_holds_what_cannot_be_undone_for_an_hour() {
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
        assert!(!run.is_confirmed(), "it came back, which is a leap, too");
        for _ in 0..59 {
            run = Run::after(Some(run), run.at.plus(minute));
            assert!(!run.is_confirmed());
        }
        run = Run::after(Some(run), run.at.plus(minute));
        assert!(run.is_confirmed(), "an hour is over");
        assert_eq!(run.to_string().parse(), Ok(run));
    }
}
