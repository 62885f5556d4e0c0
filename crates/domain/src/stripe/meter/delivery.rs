//! Decides when a report is sent, repeated, compared with Stripe's sums, or given up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use crate::time::Timestamp;

/// How long Stripe recognizes a repeated identifier (24 h), less a margin for clocks and calls.
const IDENTIFIER_LIFE: Duration = Duration::from_secs(24 * 3_600 - 600);
/// How far the clocks of two attempts may differ: less than the margin in [`IDENTIFIER_LIFE`].
const SKEW_MAX: Duration = Duration::from_secs(300);
const BACKOFF_FIRST: Duration = Duration::from_secs(2);
const BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);

/// The attempts at one report so far. The host commits this *before* each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attempts {
    /// How often it was sent.
    pub count: u32,
    /// When it was sent for the first time.
    pub first_at: Option<Timestamp>,
}

/// What may be done with an unacknowledged report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send it: Stripe recognizes a repetition.
    Send,
    /// Compare it with Stripe's sums: a repetition might count twice.
    Reconcile,
}

/// What happens to a report after an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Stripe has it.
    Done,
    /// It is retried at this time; [`Attempts::step`] then says how.
    RetryAt(Timestamp),
    /// It is compared with Stripe's sums.
    Reconcile,
    /// The sums do not show yet whether Stripe has it: it is compared again later.
    Unclear {
        /// What the sums show.
        message: String,
    },
    /// Stripe does not have it: it is sent as if for the first time.
    Resend,
    /// It is dead until an operator retries it.
    DeadLetter {
        /// Stripe's code.
        code: Option<String>,
        /// Stripe's message.
        message: String,
    },
}

impl Attempts {
    /// What may be done with the report now.
    #[must_use]
    pub fn step(&self, now: Timestamp) -> Step {
        match self.first_at {
            Some(first) if now >= first.plus(IDENTIFIER_LIFE) => Step::Reconcile,
            // The clock was ahead then or is behind now: the identifier's age is unknown.
            Some(first) if first > now.plus(SKEW_MAX) => Step::Reconcile,
            Some(_) | None => Step::Send,
        }
    }

    /// These attempts and one more at `now`.
    #[must_use]
    pub fn and_one(self, now: Timestamp) -> Self {
        Self { count: self.count.saturating_add(1), first_at: self.first_at.or(Some(now)) }
    }

    /// What happens to the report after the last attempt's outcome; `random` spreads the retries.
    #[must_use]
    pub fn next(&self, outcome: Outcome, now: Timestamp, random: u64) -> Next {
        match outcome {
            Outcome::Delivered | Outcome::Duplicate => Next::Done,
            Outcome::Retry { after } => {
                let wait = backoff(self.count, random).max(after.unwrap_or_default());
                Next::RetryAt(now.plus(wait))
            }
            Outcome::KeyRefused => Next::RetryAt(now.plus(BACKOFF_MAX)),
            Outcome::Reconcile => Next::Reconcile,
            Outcome::Permanent { code, message } => Next::DeadLetter { code, message },
        }
    }
}

/// The wait after `attempts` attempts: it doubles each time up to a quarter of an hour. `random`
/// chooses between half of that and all of it.
#[must_use]
pub fn backoff(attempts: u32, random: u64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let whole = BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    let half = whole / 2;
    let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
    half + Duration::from_millis(random % (spread + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3_600)
    }

    #[test]
    fn after_a_day_an_unacknowledged_row_is_never_resent_blindly() {
        let sent = Attempts::default().and_one(now());
        assert_eq!(Attempts::default().step(now()), Step::Send);
        assert_eq!(sent.step(now().plus(hours(23))), Step::Send);
        assert_eq!(sent.step(now().plus(hours(24))), Step::Reconcile);
        let retried = sent.and_one(now().plus(hours(23)));
        assert_eq!(retried.step(now().plus(hours(24))), Step::Reconcile, "the first one counts");
        assert_eq!(retried.count, 2);
    }

    #[test]
    fn an_attempt_that_a_clock_put_into_the_future_is_not_repeated_blindly() {
        let sent = Attempts::default().and_one(now().plus(hours(1)));
        assert_eq!(sent.step(now()), Step::Reconcile, "after a restart with the clock set right");
        let skewed = Attempts::default().and_one(now().plus(Duration::from_secs(200)));
        assert_eq!(skewed.step(now()), Step::Send, "another node's clock");
    }

    #[test]
    fn a_partly_accepted_batch_requeues_only_what_failed() {
        let sent = Attempts::default().and_one(now());
        let outcomes = [
            Outcome::Delivered,
            Outcome::Duplicate,
            Outcome::unanswered(),
            Outcome::Permanent { code: None, message: "no".into() },
        ];
        let next: Vec<Next> =
            outcomes.into_iter().map(|outcome| sent.next(outcome, now(), 0)).collect();
        assert_eq!(next[..2], [Next::Done, Next::Done]);
        assert_eq!(next[2], Next::RetryAt(now().plus(Duration::from_secs(1))));
        assert!(matches!(next[3], Next::DeadLetter { .. }));
    }

    #[test]
    fn waits_grow_within_bounds_and_honour_what_stripe_asks() {
        for (attempts, whole) in [(1, 2), (2, 4), (5, 32), (9, 512), (10, 900), (u32::MAX, 900)] {
            let whole = Duration::from_secs(whole);
            for random in [0, 1, 12_345, u64::MAX] {
                let wait = backoff(attempts, random);
                assert!(wait >= whole / 2 && wait <= whole, "{attempts}: {wait:?}");
            }
        }
        assert_ne!(backoff(5, 1), backoff(5, 9_999));
        let asked = Outcome::Retry { after: Some(Duration::from_secs(60)) };
        let next = Attempts { count: 1, first_at: Some(now()) }.next(asked, now(), 0);
        assert_eq!(next, Next::RetryAt(now().plus(Duration::from_secs(60))));
    }
}
