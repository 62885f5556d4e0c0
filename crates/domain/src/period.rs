//! Billing periods.
//!
//! An organization without a subscription has calendar months in UTC as its periods; one with a
//! subscription has Stripe's periods. When a period ends before the next one is known, a
//! provisional period follows: after a calendar month the next calendar month, after any other
//! period one of the same length. A later event corrects it.

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

/// A period's number, unique in its store.
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

    /// The period that contains `now`: this one, or a provisional later one of the same kind.
    #[must_use]
    pub fn provisional(self, now: Timestamp) -> Self {
        let length = self.end.micros().saturating_sub(self.start.micros());
        if now < self.end || length <= 0 {
            return self;
        }
        if self == Self::calendar_month(self.start) {
            return Self::calendar_month(now);
        }
        let periods = (now.micros() - self.end.micros()) / length + 1;
        let shift = length.saturating_mul(periods);
        Self {
            start: Timestamp::from_micros(self.start.micros().saturating_add(shift)),
            end: Timestamp::from_micros(self.end.micros().saturating_add(shift)),
        }
    }

    /// The month within this period that contains `now`. Months are counted from `anchor`, the
    /// first instant of one of them: each begins at the anchor's day and time or, where a month is
    /// shorter, on that month's last day. The first and the last month are cut to this period.
    #[must_use]
    pub fn month_within(self, anchor: Timestamp, now: Timestamp) -> Self {
        let last = Timestamp::from_micros(self.end.micros().saturating_sub(1));
        let instant = now.max(self.start).min(last);
        let (from, to) = (anchor.date_time(), instant.date_time());
        let months = (to.year() - from.year()) * 12 + i32::from(u8::from(to.month()))
            - i32::from(u8::from(from.month()));
        let first = add_months(anchor, months);
        let (start, end) = if instant < first {
            (add_months(anchor, months - 1), first)
        } else {
            (first, add_months(anchor, months + 1))
        };
        Self { start: start.max(self.start), end: end.min(self.end) }
    }

    /// Its length in whole seconds: the `w` of the quota's rate-limit policy.
    #[must_use]
    pub fn window_secs(&self) -> u64 {
        self.end.since(self.start).as_secs()
    }
}

/// The instant `months` later (or earlier): the same day and time, or the month's last day where it
/// has no such day.
#[must_use]
fn add_months(instant: Timestamp, months: i32) -> Timestamp {
    let from = instant.date_time();
    let count = from.year() * 12 + i32::from(u8::from(from.month())) - 1 + months;
    let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
    let Some(month) = u8::try_from(month).ok().and_then(|month| Month::try_from(month).ok()) else {
        return Timestamp::MAX;
    };
    let day = from.day().min(month.length(year));
    let micros = instant.micros().rem_euclid(1_000_000);
    Date::from_calendar_date(year, month, day).map_or(Timestamp::MAX, |date| {
        let secs = OffsetDateTime::new_utc(date, from.time()).unix_timestamp();
        Timestamp::from_micros(secs * 1_000_000 + micros)
    })
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
    fn a_provisional_period_contains_the_instant() {
        let period = Period { start: at("2026-01-15T00:00:00Z"), end: at("2026-02-15T00:00:00Z") };
        assert_eq!(period.provisional(at("2026-02-01T00:00:00Z")), period);
        let next = period.provisional(at("2026-02-15T00:00:00Z"));
        assert_eq!(next.start, period.end);
        assert!(
            period.provisional(at("2026-09-01T00:00:00Z")).contains(at("2026-09-01T00:00:00Z"))
        );
    }
    #[test]
    fn months_within_a_year_begin_on_the_anchors_day_or_the_months_last() {
        let anchor = at("2026-01-31T10:20:30Z");
        let year = Period { start: anchor, end: at("2027-01-31T10:20:30Z") };
        let starts = [
            ("2026-01-31T10:20:30Z", "2026-01-31T10:20:30Z", "2026-02-28T10:20:30Z"),
            ("2026-02-28T10:20:29Z", "2026-01-31T10:20:30Z", "2026-02-28T10:20:30Z"),
            ("2026-02-28T10:20:30Z", "2026-02-28T10:20:30Z", "2026-03-31T10:20:30Z"),
            ("2026-04-30T23:00:00Z", "2026-04-30T10:20:30Z", "2026-05-31T10:20:30Z"),
            ("2026-12-31T23:59:59Z", "2026-12-31T10:20:30Z", "2027-01-31T10:20:30Z"),
        ];
        for (now, start, end) in starts {
            let month = year.month_within(anchor, at(now));
            assert_eq!(month, Period { start: at(start), end: at(end) }, "{now}");
        }
    }

    #[test]
    fn a_leap_day_is_an_anchor_and_months_are_cut_to_the_period() {
        let anchor = at("2024-02-29T12:00:00Z");
        let year = Period { start: at("2027-02-28T12:00:00Z"), end: at("2028-02-29T12:00:00Z") };
        let first = year.month_within(anchor, at("2027-03-28T12:00:00Z"));
        assert_eq!((first.start, first.end), (year.start, at("2027-03-29T12:00:00Z")));
        let last = year.month_within(anchor, at("2028-02-29T11:59:59Z"));
        assert_eq!((last.start, last.end), (at("2028-01-29T12:00:00Z"), year.end));
        // A trial of some days before the first year.
        let trial = Period { start: at("2026-03-10T00:00:00Z"), end: at("2026-03-24T00:00:00Z") };
        assert_eq!(trial.month_within(trial.end, at("2026-03-11T00:00:00Z")), trial);
        // Before the period begins, its first month is used.
        let ahead = year.month_within(anchor, at("2026-01-01T00:00:00Z"));
        assert_eq!(ahead.start, year.start);
    }

    #[test]
    fn the_months_of_a_year_are_twelve_without_a_gap() {
        for day in 1..=31 {
            let anchor = at(&format!("2027-01-{day:02}T07:08:09Z"));
            let year = Period { start: anchor, end: add_months(anchor, 12) };
            let mut now = year.start;
            let mut count = 0;
            while now < year.end {
                let month = year.month_within(anchor, now);
                assert_eq!(month.start, now, "day {day}");
                (now, count) = (month.end, count + 1);
            }
            assert_eq!((count, now), (12, year.end), "day {day}");
        }
    }
}
