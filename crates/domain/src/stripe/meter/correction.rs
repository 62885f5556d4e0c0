//! Corrections: they take back reported overage that is not overage any more.
//!
//! In `overage` mode the units beyond the included ones are reported as they are used. When more
//! units are included later in the same period (an upgrade), Stripe would bill overage that is not
//! due any more. The rule: the difference is reported at once as a meter event of negative
//! quantity, in the same period. Stripe adds it up with the others ("You can also fix incorrectly
//! recorded usage data by recording negative quantities",
//! <https://docs.stripe.com/billing/subscriptions/usage-based/meters/configure>).
//!
//! A correction is a report like any other: its identifier, value and time never change, it is sent
//! until it is acknowledged, and later values take it into account. Cancelling the meter events
//! instead would be possible for 24 hours only, and only for whole events. A period that ended is
//! never corrected: it is billed by the terms that it had.

use super::delivery::Attempts;
use super::event::stamp;
use super::report::{Report, ReportState, SealRule};
use super::seal::{ReportMode, Sealed, overage};
use crate::id::OrganizationId;
use crate::period::Period;
use crate::time::Timestamp;

/// Stands in place of the bucket's hour in a correction, which belongs to no hour.
pub const CORRECTION_HOUR: i64 = -1;

/// Sums over the reports of the current period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportTotals {
    /// The units of the sealed buckets.
    pub units: u64,
    /// The values of all reports except dead ones, which Stripe does not have.
    pub value: i64,
    /// How many reports are corrections.
    pub corrections: u32,
}

impl SealRule {
    /// The period whose reports may have to be corrected at `now`.
    #[must_use]
    pub fn corrected(&self, now: Timestamp) -> Option<Period> {
        let period = self.in_force.filter(|_| self.mode == ReportMode::Overage)?;
        (period.contains(now) && self.service.contains(now)).then_some(period)
    }
}

impl Report {
    /// The report that takes back what was reported beyond the overage of the current period, if
    /// anything was.
    #[must_use]
    pub fn correction(
        organization: OrganizationId,
        rule: SealRule,
        reported: ReportTotals,
        now: Timestamp,
    ) -> Option<Self> {
        let period = rule.corrected(now)?;
        let value = overage(reported.units, rule.included).saturating_sub(reported.value);
        let timestamp = stamp(now.floor_to(1), period, rule.service, now).ok()?;
        let identifier = format!(
            "dl-{}-{}-{}-correction-{}",
            hex::encode(organization.as_bytes()),
            period.start.secs(),
            period.end.secs(),
            reported.corrections
        );
        (value < 0).then(|| Self {
            organization,
            sealed: Sealed { identifier, value, timestamp },
            units: 0,
            state: ReportState::Pending,
            attempts: Attempts::default(),
            done_at: None,
            error: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: OrganizationId = OrganizationId::from_bytes([7; 16]);

    fn now() -> Timestamp {
        Timestamp::parse("2026-03-10T10:20:30.5Z").expect("valid")
    }

    fn rule(included: u64) -> SealRule {
        let period = Period::calendar_month(now());
        let service = Period { start: period.start, end: Timestamp::MAX };
        SealRule { mode: ReportMode::Overage, included, service, in_force: Some(period) }
    }

    fn correction(rule: SealRule, reported: ReportTotals) -> Option<Report> {
        Report::correction(ID, rule, reported, now())
    }

    const fn reported(units: u64, value: i64, corrections: u32) -> ReportTotals {
        ReportTotals { units, value, corrections }
    }

    #[test]
    fn what_more_included_units_cover_is_taken_back_once() {
        let all = correction(rule(20), reported(8, 3, 0)).expect("3 too many");
        assert_eq!((all.sealed.value, all.units), (-3, 0));
        assert_eq!(all.sealed.timestamp, now().floor_to(1));
        assert!(all.sealed.identifier.ends_with("-correction-0"));
        assert!(all.sealed.identifier.len() <= 100 && all.sealed.is_to_be_sent());
        assert_eq!(super::super::organization_of(&all.sealed.identifier), Some(ID));
        assert_eq!(correction(rule(20), reported(8, 0, 1)), None, "once");
        let part = correction(rule(6), reported(8, 3, 0)).expect("1 too many");
        assert_eq!(part.sealed.value, -1, "2 of them are overage still");
        let again = correction(rule(7), reported(8, 2, 1)).expect("1 too many");
        assert_ne!(again.sealed.identifier, part.sealed.identifier);
        assert_eq!(correction(rule(5), reported(8, 3, 0)), None, "as it was reported");
        assert_eq!(
            correction(rule(2), reported(8, 3, 0)),
            None,
            "the next bucket reports the rest"
        );
    }

    #[test]
    fn only_the_period_in_force_of_a_live_subscription_in_overage_mode_is_corrected() {
        let wrong = reported(8, 3, 0);
        assert_eq!(correction(SealRule { mode: ReportMode::Total, ..rule(20) }, wrong), None);
        assert_eq!(correction(SealRule { in_force: None, ..rule(20) }, wrong), None);
        let service = Period { end: now(), ..rule(20).service };
        assert_eq!(correction(SealRule { service, ..rule(20) }, wrong), None);
        let end = Period::calendar_month(now()).end;
        assert_eq!(Report::correction(ID, rule(20), wrong, end), None, "it is over");
    }
}
