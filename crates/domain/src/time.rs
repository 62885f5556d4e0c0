//! An instant as microseconds since the Unix epoch, UTC; RFC 3339 as text.
//!
//! Nothing here reads a clock: the hosts read it and pass the instant.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// 0000-01-01T00:00:00Z, the first instant that RFC 3339 can express.
const FIRST_MICROS: i64 = -62_167_219_200_000_000;
/// The last microsecond of the year 9999, the last instant that RFC 3339 can express.
const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// Text that is not an RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time such as 2026-01-31T12:00:00Z")]
pub struct MalformedTime;

impl Timestamp {
    /// The last second that has a text form (9999-12-31T23:59:59Z).
    pub const MAX: Self = Self(253_402_300_799_000_000);

    /// From microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The instant this much later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros).min(Self::MAX.0))
    }

    /// The instant this much earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// How long after `earlier` this instant is; zero when it is before `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The start of the bucket of this width (seconds) that contains the instant.
    #[must_use]
    pub const fn floor_to(self, width_secs: i64) -> Self {
        Self::from_secs(self.secs() - self.secs().rem_euclid(width_secs))
    }

    /// The calendar time in UTC. For an instant without a text form, the nearest one that has one.
    #[must_use]
    pub fn date_time(self) -> OffsetDateTime {
        let micros = self.0.clamp(FIRST_MICROS, LAST_MICROS);
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Parses RFC 3339 text.
    ///
    /// # Errors
    /// [`MalformedTime`] for other text, and for a time whose offset moves it out of the years 0 to
    /// 9999.
    pub fn parse(text: &str) -> Result<Self, MalformedTime> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| MalformedTime)?;
        let micros = i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000));
        let micros = micros.ok().filter(|at| (FIRST_MICROS..=LAST_MICROS).contains(at));
        micros.map(Self).ok_or(MalformedTime)
    }
}

/// A wait in whole seconds, rounded up, as `Retry-After` states it.
#[must_use]
pub fn secs_ceil(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.date_time().format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let instant = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(instant.to_string(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant));
        assert_eq!(Timestamp::parse("yesterday"), Err(MalformedTime));
    }

    #[test]
    fn every_instant_has_a_text() {
        for out in ["0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"] {
            assert_eq!(Timestamp::parse(out), Err(MalformedTime), "{out}");
        }
        for text in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"] {
            assert_eq!(Timestamp::parse(text).map(|at| at.to_string()).as_deref(), Ok(text));
        }
        for (micros, text) in
            [(i64::MIN, "0000-01-01T00:00:00Z"), (i64::MAX, "9999-12-31T23:59:59.999999Z")]
        {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        }
    }

    #[test]
    fn buckets_start_at_whole_hours() {
        let instant = Timestamp::parse("2026-01-31T12:34:56Z").expect("valid");
        assert_eq!(instant.floor_to(3_600).to_string(), "2026-01-31T12:00:00Z");
    }

    #[test]
    fn waits_round_up() {
        assert_eq!(secs_ceil(Duration::from_millis(1)), 1);
        assert_eq!(secs_ceil(Duration::from_secs(2)), 2);
        assert_eq!(secs_ceil(Duration::ZERO), 0);
    }
}
