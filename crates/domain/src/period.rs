//! Billing periods.
//!
//! An organization without a subscription has calendar months in UTC; a subscribed one has what
//! Stripe says. When a period ends before the next is known, a provisional one of the same kind
//! follows, which a later event corrects: after a calendar month the next ones, after any other
//! period one as long.

use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime, Time};

use crate::time::Timestamp;

/// A billing period: `start` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Period {
    /// The first instant.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

/// A period's number in the store, unique in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeriodId(pub i64);

impl Period {
    /// The calendar month (UTC) of an instant.
    #[must_use]
    pub fn calendar_month(now: Timestamp) -> Self {
        let date = now.date_time().date();
        Self { start: month_start(date.year(), date.month()), end: next_month_start(date) }
    }

    /// Whether the instant lies in the period.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.start <= now && now < self.end
    }

    /// The period that holds `now`: this one, or a provisional later one of the same kind.
    #[must_use]
    pub fn provisional(self, now: Timestamp) -> Self {
        let length = self.end.micros().saturating_sub(self.start.micros());
        if now < self.end || length <= 0 {
            return self;
        }
        if self == Self::calendar_month(self.start) {
            return Self::calendar_month(now);
        }
        let turns = (now.micros() - self.end.micros()) / length + 1;
        let shift = length.saturating_mul(turns);
        Self {
            start: Timestamp::from_micros(self.start.micros().saturating_add(shift)),
            end: Timestamp::from_micros(self.end.micros().saturating_add(shift)),
        }
    }

    /// Its length in whole seconds: the `w` of the quota's rate-limit policy.
    #[must_use]
    pub fn window_secs(&self) -> u64 {
        self.end.since(self.start).as_secs()
    }
}

fn month_start(year: i32, month: Month) -> Timestamp {
    Date::from_calendar_date(year, month, 1).map_or(Timestamp::MAX, |date| {
        let instant = OffsetDateTime::new_utc(date, Time::MIDNIGHT);
        Timestamp::from_secs(instant.unix_timestamp())
    })
}

fn next_month_start(date: Date) -> Timestamp {
    let next = date.month().next();
    let year = if next == Month::January { date.year() + 1 } else { date.year() };
    month_start(year, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("valid")
    }

    #[test]
    fn months_end_where_the_next_begins() {
        let december = Period::calendar_month(at("2026-12-31T23:59:59.999999Z"));
        assert_eq!(december.start, at("2026-12-01T00:00:00Z"));
        assert_eq!(december.end, at("2027-01-01T00:00:00Z"));
        assert!(!december.contains(december.end));
        let leap = Period::calendar_month(at("2028-02-10T00:00:00Z"));
        assert_eq!(leap.window_secs(), 29 * 86_400);
    }

    #[test]
    fn after_a_calendar_month_comes_a_calendar_month() {
        let january = Period::calendar_month(at("2026-01-20T00:00:00Z"));
        let february = january.provisional(at("2026-02-01T00:00:00Z"));
        assert_eq!(february, Period::calendar_month(at("2026-02-28T23:59:59Z")));
        assert_eq!(february.end, at("2026-03-01T00:00:00Z"), "not January's length");
        let may = january.provisional(at("2026-05-03T00:00:00Z"));
        assert_eq!(may, Period::calendar_month(at("2026-05-03T00:00:00Z")));
    }

    #[test]
    fn a_provisional_period_holds_the_instant() {
        let period = Period { start: at("2026-01-15T00:00:00Z"), end: at("2026-02-15T00:00:00Z") };
        assert_eq!(period.provisional(at("2026-02-01T00:00:00Z")), period);
        let turned = period.provisional(at("2026-02-15T00:00:00Z"));
        assert_eq!(turned.start, period.end);
        assert!(
            period.provisional(at("2026-09-01T00:00:00Z")).contains(at("2026-09-01T00:00:00Z"))
        );
    }
}
