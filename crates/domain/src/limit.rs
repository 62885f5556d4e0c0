//! Rate limits by the generic cell rate algorithm (GCRA, ITU-T I.371): one instant per limit.
//!
//! A bucket holds the theoretical arrival time: the instant at which it would be full again if no
//! further request came. Checking is pure: it returns the new bucket, and the caller stores it if
//! the request is admitted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Timestamp, secs_ceil};

/// All limits are per minute.
pub const WINDOW_SECS: u64 = 60;
const WINDOW_MICROS: u64 = WINDOW_SECS * 1_000_000;

/// A number of requests per minute, which is also the burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    requests: u32,
}

impl Limit {
    /// A limit of `requests` per minute; 0 counts as 1.
    #[must_use]
    pub const fn per_minute(requests: u32) -> Self {
        Self { requests: if requests == 0 { 1 } else { requests } }
    }

    /// By how much one request moves the arrival time, in microseconds. It is rounded up, so that
    /// rounding never lets requests exceed the limit.
    #[must_use]
    pub fn request_micros(self) -> u64 {
        WINDOW_MICROS.div_ceil(u64::from(self.requests))
    }

    /// How far ahead the arrival time may lie, in microseconds: the rounded cost of a request times
    /// the requests of a burst, so that rounding takes no request from a burst either.
    #[must_use]
    pub fn burst_micros(self) -> u64 {
        self.request_micros() * u64::from(self.requests)
    }
}

/// The state of one limit; the default bucket is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bucket {
    arrival: Timestamp,
}

/// The limit is used up; the next request is allowed after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// A limit at one instant, as the headers state it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitState {
    /// Requests per window.
    pub limit: u32,
    /// The window, in seconds.
    pub window_secs: u64,
    /// Requests that are allowed now.
    pub remaining: u32,
    /// The time until one more request is allowed, in seconds; 0 when the bucket is full.
    pub reset_secs: u64,
}

impl Bucket {
    /// A bucket whose arrival time lies this far ahead of `now`.
    #[must_use]
    pub fn ahead(ahead: Duration, now: Timestamp) -> Self {
        Self { arrival: now.plus(ahead) }
    }

    /// Of the two buckets, the one that has more used up.
    #[must_use]
    pub fn or_emptier(self, other: Self) -> Self {
        Self { arrival: self.arrival.max(other.arrival) }
    }

    /// The bucket without one request that [`Bucket::check`] had admitted.
    #[must_use]
    pub fn give_back(self, limit: Limit) -> Self {
        Self { arrival: self.arrival.minus(Duration::from_micros(limit.request_micros())) }
    }

    /// The bucket after one request, or how long to wait.
    ///
    /// # Errors
    /// [`Wait`], when the burst is used up.
    pub fn check(self, limit: Limit, now: Timestamp) -> Result<Self, Wait> {
        let arrival = self.arrival.max(now).plus(Duration::from_micros(limit.request_micros()));
        let ahead = arrival.since(now);
        let burst = Duration::from_micros(limit.burst_micros());
        if ahead > burst { Err(Wait(ahead - burst)) } else { Ok(Self { arrival }) }
    }

    /// The limit's state at `now`.
    #[must_use]
    pub fn state(self, limit: Limit, now: Timestamp) -> LimitState {
        let cost = limit.request_micros();
        let burst = limit.burst_micros();
        let ahead = micros(self.arrival.since(now));
        let remaining = burst.saturating_sub(ahead) / cost;
        // `remaining` grows by one when `ahead` falls to the next lower multiple of the cost.
        let until_next = if ahead == 0 { 0 } else { ahead - (ahead - 1) / cost * cost };
        LimitState {
            limit: limit.requests,
            window_secs: WINDOW_SECS,
            remaining: u32::try_from(remaining).unwrap_or(limit.requests).min(limit.requests),
            reset_secs: secs_ceil(Duration::from_micros(until_next)),
        }
    }

    /// Whether nothing is used up, so that the bucket may be dropped.
    #[must_use]
    pub fn is_full(self, now: Timestamp) -> bool {
        self.arrival <= now
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + millis * 1_000)
    }

    #[test]
    fn the_burst_is_the_minute() {
        let limit = Limit::per_minute(3);
        let mut bucket = Bucket::default();
        for left in [2, 1, 0] {
            bucket = bucket.check(limit, at(0)).expect("within the burst");
            assert_eq!(bucket.state(limit, at(0)).remaining, left);
        }
        assert_eq!(bucket.check(limit, at(0)), Err(Wait(Duration::from_secs(20))));
        assert_eq!(bucket.state(limit, at(0)).reset_secs, 20);
        assert!(bucket.check(limit, at(19_999)).is_err());
        assert!(bucket.check(limit, at(20_000)).is_ok());
        assert!(!bucket.is_full(at(59_999)));
        assert!(bucket.is_full(at(60_000)));
    }

    #[test]
    fn a_full_bucket_has_nothing_to_wait_for() {
        let limit = Limit::per_minute(300);
        let full = Bucket::default().state(limit, at(0));
        assert_eq!((full.remaining, full.reset_secs), (300, 0));
        let one = Bucket::default().check(limit, at(0)).expect("passes").state(limit, at(0));
        assert_eq!((one.remaining, one.reset_secs), (299, 1));
    }

    #[test]
    fn rounding_takes_no_request_from_a_burst() {
        for requests in [1, 7, 11, 13, 59, 61, 999, 70_001] {
            let limit = Limit::per_minute(requests);
            let all =
                (0..requests).try_fold(Bucket::default(), |bucket, _| bucket.check(limit, at(0)));
            let all = all.expect("the burst is the whole limit");
            assert!(all.check(limit, at(0)).is_err(), "{requests}");
            assert_eq!(Bucket::default().state(limit, at(0)).remaining, requests);
        }
    }

    proptest! {
        #[test]
        fn no_window_allows_more_than_twice_the_limit(
            requests in 1_u32..500,
            gaps in prop::collection::vec(0_i64..500, 1..400),
        ) {
            let limit = Limit::per_minute(requests);
            let (mut bucket, mut millis, mut passed) = (Bucket::default(), 0, Vec::new());
            for gap in gaps {
                millis += gap;
                match bucket.check(limit, at(millis)) {
                    Ok(after) => { bucket = after; passed.push(millis); }
                    Err(Wait(wait)) => prop_assert!(bucket.check(limit, at(millis).plus(wait)).is_ok()),
                }
                let state = bucket.state(limit, at(millis));
                prop_assert!(state.remaining <= requests);
                prop_assert_eq!(state.remaining > 0, bucket.check(limit, at(millis)).is_ok());
            }
            let span = passed.last().copied().unwrap_or(0) - passed.first().copied().unwrap_or(0);
            let most = u64::from(requests) + u64::from(requests) * span.unsigned_abs() / 60_000 + 1;
            prop_assert!(passed.len() as u64 <= most);
        }
    }
}
