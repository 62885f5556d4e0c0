//! Compares reports of unknown outcome with Stripe's own sums (meter event summaries).
//!
//! A summary is one sum per customer, meter and window. A report is delivered or missing only if
//! that sum has no other explanation. Else it stays unclear until a later summary or an operator
//! decides, since Stripe includes meter events with a delay.

use std::time::Duration;

use super::{Report, ReportState, Sealed};
use crate::period::Period;
use crate::time::Timestamp;
use crate::usage::BUCKET_SECS;

/// How long Stripe's sums may lag behind its acknowledgements: it adds meter events asynchronously.
pub const SUMMARY_LAG: Duration = Duration::from_secs(3_600);

/// Up to this many reports of unknown outcome in one window, every combination is tried.
pub const UNCERTAIN_MAX: usize = 16;

/// What the sums show about one report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Stripe has it.
    Delivered,
    /// Stripe does not have it: it may be sent again, under the same identifier, as if for the
    /// first time.
    Missing,
    /// The sum can be explained in more than one way, or in none.
    Unclear,
}

/// The window of the summary to fetch: the hour that contains the meter event's time.
#[must_use]
pub fn summary_window(sealed: &Sealed) -> Period {
    let start: Timestamp = sealed.timestamp.floor_to(BUCKET_SECS);
    Period { start, end: start.plus(Duration::from_secs(BUCKET_SECS.unsigned_abs())) }
}

/// What Stripe's sum over a window shows about each report of unknown outcome in it. `acknowledged`
/// is the sum of the acknowledged reports. All values are in units.
#[must_use]
pub fn reconcile(acknowledged: i64, uncertain: &[i64], summary: i64) -> Vec<Found> {
    let rest = i128::from(summary) - i128::from(acknowledged);
    if uncertain.len() > UNCERTAIN_MAX {
        return vec![all_or_nothing(uncertain, rest); uncertain.len()];
    }
    let sum = |subset: u32| -> i128 {
        members(subset, uncertain.len()).map(|at| i128::from(uncertain[at])).sum()
    };
    let subsets = 0..1_u32 << uncertain.len();
    let fitting: Vec<u32> = subsets.filter(|subset| sum(*subset) == rest).collect();
    let found = |at: usize| {
        let holding = fitting.iter().filter(|subset| **subset & (1 << at) != 0).count();
        match holding {
            _ if fitting.is_empty() => Found::Unclear,
            0 => Found::Missing,
            all if all == fitting.len() => Found::Delivered,
            _ => Found::Unclear,
        }
    };
    (0..uncertain.len()).map(found).collect()
}

/// By how many units Stripe's sum exceeds what the reports of the same window explain; negative if
/// Stripe misses some. A report of unknown outcome, or acknowledged within [`SUMMARY_LAG`], may be
/// in the sum or not.
#[must_use]
pub fn drift(summary: i64, reports: &[Report], now: Timestamp) -> i128 {
    let (mut least, mut most) = (0_i128, 0_i128);
    for report in reports {
        let value = i128::from(report.sealed.value);
        let is_certain = match report.state {
            ReportState::Done => !report.is_recent(now),
            ReportState::Pending if report.attempts.count == 0 => continue,
            ReportState::Pending | ReportState::Reconcile => false,
            ReportState::Dead => continue,
        };
        // An uncertain report is in the sum or not; a correction has a negative value.
        most += if is_certain { value } else { value.max(0) };
        least += if is_certain { value } else { value.min(0) };
    }
    let summary = i128::from(summary);
    if summary < least { summary - least } else { (summary - most).max(0) }
}

/// The part of a window whose reports are normally older than [`SUMMARY_LAG`], so that the lag
/// cannot cause a difference there; `None` if there is no such part.
#[must_use]
pub fn settled_part(window: Period, now: Timestamp) -> Option<Period> {
    let end: Timestamp = now.minus(SUMMARY_LAG * 2).floor_to(60).min(window.end);
    (end > window.start).then_some(Period { start: window.start, end })
}

fn all_or_nothing(uncertain: &[i64], rest: i128) -> Found {
    let all: i128 = uncertain.iter().map(|value| i128::from(*value)).sum();
    match rest {
        // Values of both signs may add up to 0 although Stripe has them.
        0 if uncertain.iter().any(|value| *value < 0) => Found::Unclear,
        0 => Found::Missing,
        rest if rest == all => Found::Delivered,
        _ => Found::Unclear,
    }
}

fn members(subset: u32, count: usize) -> impl Iterator<Item = usize> {
    (0..count).filter(move |at| subset & (1 << at) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_delivered_or_missing_only_when_nothing_else_explains_the_sum() {
        use Found::{Delivered, Missing, Unclear};
        for (acknowledged, uncertain, summary, expected) in [
            (0, &[5_i64][..], 5, vec![Delivered]),
            (0, &[5], 0, vec![Missing]),
            (7, &[5], 12, vec![Delivered]),
            (7, &[5], 7, vec![Missing]),
            (7, &[5], 9, vec![Unclear]),
            (7, &[5], 6, vec![Unclear]),
            (0, &[5, 5], 5, vec![Unclear, Unclear]),
            (0, &[5, 5], 10, vec![Delivered, Delivered]),
            (0, &[1, 2, 4], 5, vec![Delivered, Missing, Delivered]),
            (0, &[1, 2, 3], 3, vec![Unclear, Unclear, Unclear]),
            (3, &[], 3, vec![]),
            (3, &[-3], 0, vec![Delivered]),
            (3, &[-3], 3, vec![Missing]),
            (0, &[3, -3], 0, vec![Unclear, Unclear]),
            (0, &[3, -3], 3, vec![Delivered, Missing]),
        ] {
            assert_eq!(reconcile(acknowledged, uncertain, summary), expected, "{uncertain:?}");
        }
    }

    #[test]
    fn many_rows_are_all_there_or_none_is() {
        let rows = [3_i64; 20];
        assert_eq!(reconcile(0, &rows, 60), [Found::Delivered; 20]);
        assert_eq!(reconcile(0, &rows, 0), [Found::Missing; 20]);
        assert_eq!(reconcile(0, &rows, 57), [Found::Unclear; 20]);
        assert_eq!(reconcile(0, &[i64::MAX; 2], i64::MAX), [Found::Unclear; 2]);
        let both: Vec<i64> = (0..20).map(|at| if at % 2 == 0 { 3 } else { -3 }).collect();
        assert_eq!(reconcile(0, &both, 0), [Found::Unclear; 20], "there, or not");
    }

    fn report(value: i64, state: ReportState, done_at: Option<Timestamp>) -> Report {
        Report {
            organization: crate::id::OrganizationId::from_bytes([1; 16]),
            sealed: Sealed {
                identifier: "dl-1".into(),
                value,
                timestamp: Timestamp::from_secs(1_800_000_000),
            },
            units: value.unsigned_abs(),
            state,
            attempts: super::super::Attempts::default(),
            done_at,
            error: None,
        }
    }

    #[test]
    fn the_lag_of_stripes_sums_is_no_drift_and_what_is_missing_after_it_is() {
        let now = Timestamp::from_secs(1_800_100_000);
        let ago = |secs| Some(now.minus(Duration::from_secs(secs)));
        let reports = [
            report(100, ReportState::Done, ago(7_200)),
            report(10, ReportState::Done, ago(60)),
            report(3, ReportState::Reconcile, None),
            report(1, ReportState::Pending, None),
            report(9, ReportState::Dead, None),
        ];
        for (summary, wanted) in
            [(100, 0), (110, 0), (113, 0), (104, 0), (99, -1), (0, -100), (114, 1)]
        {
            assert_eq!(drift(summary, &reports, now), wanted, "{summary}");
        }
        let later = now.plus(SUMMARY_LAG);
        assert_eq!(drift(100, &reports, later), -10, "the lag is over");
    }

    #[test]
    fn a_correction_on_its_way_is_in_the_sum_or_not() {
        let now = Timestamp::from_secs(1_800_100_000);
        let ago = |secs| Some(now.minus(Duration::from_secs(secs)));
        let done = report(3, ReportState::Done, ago(7_200));
        for (correction, wanted) in [
            (report(-3, ReportState::Done, ago(7_200)), [(0, 0), (3, 3), (-1, -1)]),
            (report(-3, ReportState::Done, ago(60)), [(0, 0), (3, 0), (4, 1)]),
            (report(-3, ReportState::Reconcile, None), [(0, 0), (3, 0), (-1, -1)]),
            (report(-3, ReportState::Pending, None), [(3, 0), (0, -3), (4, 1)]),
        ] {
            for (summary, drift) in wanted {
                let reports = [done.clone(), correction.clone()];
                assert_eq!(super::drift(summary, &reports, now), drift, "{summary} {correction:?}");
            }
        }
    }

    #[test]
    fn the_settled_part_ends_before_what_the_lag_may_hide() {
        let now = Timestamp::from_secs(1_800_000_000);
        let window = Period { start: now.minus(Duration::from_secs(86_400)), end: now };
        let part = settled_part(window, now).expect("there is one");
        assert_eq!((part.start, part.end), (window.start, now.minus(SUMMARY_LAG * 2).floor_to(60)));
        assert_eq!(settled_part(Period { start: now, end: now }, now), None);
        let past = Period { start: window.start, end: window.start.plus(SUMMARY_LAG) };
        assert_eq!(settled_part(past, now), Some(past));
    }
}
