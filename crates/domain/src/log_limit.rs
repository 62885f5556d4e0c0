//! Limits the log lines of one kind: a few per window of time, then one line with the number of
//! suppressed ones. Otherwise an unavailable store would cause a line for every request.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use crate::time::Timestamp;

/// The most lines of one kind that are written in a window.
pub const LINES_MAX: u32 = 10;
/// A window's length.
pub const WINDOW: Duration = Duration::from_secs(10);
/// The most kinds that are counted; beyond, kinds are dropped whose window is over and had no
/// suppressed lines. If none can be dropped, lines of further kinds are not limited.
const KINDS_MAX: usize = 1_024;

/// Whether a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Write,
    /// Only count it.
    Suppress,
}

/// The suppressed lines of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppressed {
    /// The message of the first suppressed line.
    pub message: String,
    /// How many lines were suppressed.
    pub lines: u64,
}

/// The windows of every kind of line.
#[derive(Debug, Default)]
pub struct LogLimiter {
    kinds: HashMap<u64, Window>,
}

#[derive(Debug)]
struct Window {
    since: Timestamp,
    written: u32,
    suppressed: u64,
    message: String,
}

impl LogLimiter {
    /// Decides whether a line of this kind is written. `message` is called only for the first
    /// suppressed line of a window.
    pub fn admit(
        &mut self,
        kind: u64,
        now: Timestamp,
        message: impl FnOnce() -> String,
    ) -> Verdict {
        if self.kinds.len() >= KINDS_MAX {
            // A window with suppressed lines is kept until they are reported.
            self.kinds.retain(|_, window| !window.is_over(now) || window.suppressed > 0);
        }
        let is_full = self.kinds.len() >= KINDS_MAX;
        match self.kinds.entry(kind) {
            Entry::Occupied(known) => known.into_mut().admit(now, message),
            Entry::Vacant(_) if is_full => Verdict::Write,
            Entry::Vacant(place) => {
                place.insert(Window {
                    since: now,
                    written: 1,
                    suppressed: 0,
                    message: String::new(),
                });
                Verdict::Write
            }
        }
    }

    /// Takes the suppressed lines of all windows that are over.
    pub fn take_suppressed(&mut self, now: Timestamp) -> Vec<Suppressed> {
        let mut taken = Vec::new();
        self.kinds.retain(|_, window| {
            if !window.is_over(now) {
                return true;
            }
            if window.suppressed > 0 {
                let message = std::mem::take(&mut window.message);
                taken.push(Suppressed { message, lines: window.suppressed });
            }
            false
        });
        taken
    }
}

impl Window {
    fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.since) >= WINDOW
    }

    fn admit(&mut self, now: Timestamp, message: impl FnOnce() -> String) -> Verdict {
        // A window with suppressed lines continues until they are reported.
        if self.is_over(now) && self.suppressed == 0 {
            (self.since, self.written) = (now, 0);
        }
        if self.written < LINES_MAX {
            self.written += 1;
            return Verdict::Write;
        }
        if self.suppressed == 0 {
            self.message = message();
        }
        self.suppressed += 1;
        Verdict::Suppress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    fn written(limiter: &mut LogLimiter, kind: u64, secs: i64, lines: u32) -> usize {
        let admit = |_: &u32| {
            limiter.admit(kind, at(secs), || "a request failed".to_owned()) == Verdict::Write
        };
        (0..lines).filter(admit).count()
    }

    #[test]
    fn a_flood_of_one_kind_is_a_few_lines_and_a_count() {
        let mut limiter = LogLimiter::default();
        assert_eq!(written(&mut limiter, 1, 0, 10_000), 10);
        assert_eq!(written(&mut limiter, 2, 0, 3), 3, "another kind is counted separately");
        assert!(limiter.take_suppressed(at(9)).is_empty());
        let message = "a request failed".to_owned();
        assert_eq!(limiter.take_suppressed(at(10)), [Suppressed { message, lines: 9_990 }]);
        assert!(limiter.take_suppressed(at(10)).is_empty(), "once");
        assert_eq!(written(&mut limiter, 1, 10, 100), 10, "a new window");
    }

    #[test]
    fn lines_at_a_low_rate_are_all_written() {
        let mut limiter = LogLimiter::default();
        for secs in 0..1_000 {
            assert_eq!(written(&mut limiter, 1, 2 * secs, 1), 1);
        }
        assert!(limiter.take_suppressed(at(10_000)).is_empty());
    }

    #[test]
    fn kinds_are_bounded() {
        let mut limiter = LogLimiter::default();
        for kind in 0..100_000 {
            written(&mut limiter, kind, 0, 1);
        }
        assert!(limiter.kinds.len() <= KINDS_MAX);
    }
}
