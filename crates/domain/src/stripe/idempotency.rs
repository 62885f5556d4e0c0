//! Idempotency keys of calls to Stripe. No other code makes such keys.
//!
//! Stripe keeps the first answer to a key for a day, also a failure, and refuses a key that comes
//! with other parameters. Hence three rules:
//!
//! - A key is derived from the path and all parameters.
//! - While the outcome of a call is unknown (no answer came), the call is repeated under the same
//!   key.
//! - After a definite failure the next attempt has another key, else it would get the same failure.
//!
//! The first two keys of a call are the same in every process, so that a repetition after a crash
//! creates nothing twice. If both failed within the day, the next key is random.
//! <https://docs.stripe.com/api/idempotent_requests>

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::api::{ApiError, Call};

/// How many attempts a call has that fails transiently.
const TRIES: u32 = 3;
/// The most time that all waits between the attempts of one call may take, since a client waits for
/// the answer.
const WAITED_MAX: Duration = Duration::from_secs(10);
/// How many keys of a call are the same in every process.
const DERIVED: u8 = 2;

/// Which of a call's keys an attempt uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// A key that every process derives.
    Derived(u8),
    /// A key of this process alone.
    Random(u64),
}

/// The attempts at one call: which key the next attempt has, and when it is made.
#[derive(Debug, Clone)]
pub struct Attempts {
    series: Series,
    failed: u32,
    waited: Duration,
}

impl Series {
    /// The key of a first attempt.
    pub const FIRST: Self = Self::Derived(0);

    const fn next(self, random: u64) -> Self {
        match self {
            Self::Derived(number) if number + 1 < DERIVED => Self::Derived(number + 1),
            Self::Derived(_) | Self::Random(_) => Self::Random(random),
        }
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self { series: Series::FIRST, failed: 0, waited: Duration::ZERO }
    }
}

impl Attempts {
    /// Which key the present attempt has.
    #[must_use]
    pub const fn series(&self) -> Series {
        self.series
    }

    /// Notes a failed attempt and returns the wait before the next one, or `None` if there is none.
    /// `replayed` says that Stripe repeated its earlier answer to this key; `random` spreads the
    /// waits.
    pub fn again(&mut self, error: &ApiError, replayed: bool, random: u64) -> Option<Duration> {
        if !error.leaves_outcome_open() {
            self.series = self.series.next(random);
        }
        if replayed {
            // The failure is an earlier attempt's; this attempt had no effect.
            return Some(Duration::ZERO);
        }
        self.failed += 1;
        let wait = error.again_after(self.failed, random)?;
        if self.failed >= TRIES || self.waited + wait > WAITED_MAX {
            return None;
        }
        self.waited += wait;
        Some(wait)
    }
}

impl ApiError {
    /// Whether the outcome is unknown, so that the call must be repeated under the same key. 409
    /// says that another call with this key is in progress.
    const fn leaves_outcome_open(&self) -> bool {
        matches!(self, Self::Unanswered(_) | Self::Transient { status: 409, .. })
    }
}

/// The key of a call: a hash over its path, its fields, `scope` and `series`.
pub(super) fn key(call: &Call, scope: &str, series: Series) -> String {
    let series = match series {
        Series::Derived(number) => format!("derived {number}"),
        Series::Random(number) => format!("random {number}"),
    };
    let parts = [call.path(), scope, &series];
    let fields = call.fields().iter().flat_map(|(name, value)| [&**name, &**value]);
    let mut hash = Sha256::new();
    for part in parts.into_iter().chain(fields) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("dl-{}", hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str) -> Call {
        Call::post("/v1/customers").field("name", name)
    }

    fn transient(status: u16) -> ApiError {
        ApiError::Transient { status, message: String::new(), after: None, again: true }
    }

    #[test]
    fn a_key_depends_on_everything_that_a_call_says() {
        let key = |call: &Call, series| call.idempotency_key(series).expect("a POST has one");
        let first = key(&call("a"), Series::FIRST);
        assert_eq!(first, key(&call("a"), Series::FIRST), "in every process");
        assert!(first.len() <= 255 && first.is_ascii(), "{first}");
        let others = [
            key(&call("b"), Series::FIRST),
            key(&call("a").scoped("after cus_1"), Series::FIRST),
            key(&call("a").field("email", "a"), Series::FIRST),
            key(&Call::post("/v1/other").field("name", "a"), Series::FIRST),
            key(&Call::post("/v1/customers").field("namea", ""), Series::FIRST),
            key(&call("a"), Series::Derived(1)),
            key(&call("a"), Series::Random(1)),
            key(&call("a"), Series::Random(2)),
        ];
        for (place, other) in others.iter().enumerate() {
            assert!(*other != first && !others[..place].contains(other), "{place}");
        }
        assert_eq!(Call::get("/v1/customers").idempotency_key(Series::FIRST), None);
    }

    #[test]
    fn without_an_answer_the_key_stays_and_after_a_failure_it_is_another() {
        let mut attempts = Attempts::default();
        let lost = ApiError::Unanswered("lost".into());
        assert!(attempts.again(&lost, false, 7).is_some());
        assert_eq!(attempts.series(), Series::FIRST);
        assert!(attempts.again(&transient(409), false, 7).is_some(), "it is under way");
        assert_eq!(attempts.series(), Series::FIRST);
        for status in [429, 500, 503] {
            let mut attempts = Attempts::default();
            assert!(attempts.again(&transient(status), false, 7).is_some());
            assert_eq!(attempts.series(), Series::Derived(1), "{status}");
            assert!(attempts.again(&transient(status), false, 7).is_some());
            assert_eq!(attempts.series(), Series::Random(7), "{status}");
            assert_eq!(attempts.again(&transient(status), false, 8), None, "three in all");
        }
        let refused = ApiError::Refused { status: 400, message: "no".into() };
        assert_eq!(Attempts::default().again(&refused, false, 0), None, "it would be again");
    }

    #[test]
    fn a_repeated_failure_of_earlier_attempts_costs_no_try() {
        let mut attempts = Attempts::default();
        let refused = ApiError::Refused { status: 402, message: "an hour ago".into() };
        assert_eq!(attempts.again(&transient(500), true, 7), Some(Duration::ZERO));
        assert_eq!(attempts.again(&refused, true, 7), Some(Duration::ZERO));
        assert_eq!(attempts.series(), Series::Random(7), "which has no answer yet");
        assert!(attempts.again(&transient(500), false, 8).is_some());
        assert_eq!(attempts.again(&refused, false, 9), None);
    }

    #[test]
    fn waits_are_bounded() {
        let asked = ApiError::Transient {
            status: 429,
            message: String::new(),
            after: Some(WAITED_MAX + Duration::from_secs(1)),
            again: true,
        };
        assert_eq!(Attempts::default().again(&asked, false, 0), None);
        let mut attempts = Attempts::default();
        let lost = ApiError::Unanswered("lost".into());
        let waits: Vec<_> = std::iter::from_fn(|| attempts.again(&lost, false, u64::MAX)).collect();
        assert_eq!(waits.len(), TRIES as usize - 1);
        assert!(waits.iter().sum::<Duration>() <= WAITED_MAX, "{waits:?}");
    }
}
