//! Meter reports: sealed buckets and corrections in the outbox.

use serde::{Deserialize, Serialize};

use super::delivery::{Attempts, Step};
use super::reconcile::SUMMARY_LAG;
use super::seal::{Bucket, ReportMode, Reported, Sealed, seal};
use crate::id::OrganizationId;
use crate::period::Period;
use crate::time::Timestamp;

/// The rule for sealing an organization's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealRule {
    /// Which units are reported.
    pub mode: ReportMode,
    /// Units included in a period; units beyond them are overage.
    pub included: u64,
    /// The time of the subscription's service: only usage of periods within it is reported.
    pub service: Period,
    /// The period in which `included` applies, while the subscription is live: reports made in it
    /// under other terms are corrected. Other periods are billed by the terms that they had.
    pub in_force: Option<Period>,
}

impl SealRule {
    /// Whether a bucket is on the subscription's bill. A bucket of a period that began before the
    /// service is not: no subscription was paid for then.
    #[must_use]
    pub fn bills(&self, bucket: &Bucket) -> bool {
        let first = bucket.hour.max(bucket.period.start);
        self.service.start <= bucket.period.start && first < self.service.end
    }
}

/// The state of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportState {
    /// It will be sent.
    Pending,
    /// Whether Stripe has it is unknown: it is compared with Stripe's sums.
    Reconcile,
    /// Stripe has it, or there was nothing to report.
    Done,
    /// It is not sent until an operator retries it.
    Dead,
}

/// A meter report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The organization that used the units.
    pub organization: OrganizationId,
    /// The meter event.
    pub sealed: Sealed,
    /// The counted units that it covers.
    pub units: u64,
    /// Its state.
    pub state: ReportState,
    /// The attempts so far.
    pub attempts: Attempts,
    /// When Stripe acknowledged it.
    pub done_at: Option<Timestamp>,
    /// What is wrong with it, or why it reports nothing.
    pub error: Option<String>,
}

/// Sums over one period of an organization, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodSums {
    /// The period.
    pub period: Period,
    /// Settled units, as the usage API shows them.
    pub settled: u64,
    /// Settled units in sealed buckets.
    pub sealed: u64,
    /// Settled units in buckets that are not sealed yet.
    pub open: u64,
    /// Values of reports that Stripe acknowledged.
    pub acknowledged: i64,
    /// Values of reports that are not sent yet, or of unknown outcome.
    pub outstanding: i64,
    /// Values of dead reports.
    pub dead: i64,
}

impl Report {
    /// A bucket's report, as it is entered in the outbox. If Stripe accepts no time for it any
    /// more, it is dead from the beginning. If its value is 0 or it is on no bill, it is done.
    #[must_use]
    pub fn of(bucket: &Bucket, rule: SealRule, before: Reported, now: Timestamp) -> Self {
        if !rule.bills(bucket) {
            return Self::unbilled(bucket);
        }
        let (sealed, late) = match seal(bucket, rule, before, now) {
            Ok(sealed) => (sealed, None),
            Err(untimely) => {
                let (identifier, timestamp) = (bucket.identifier(), bucket.hour);
                let value = rule.mode.value(bucket, before, rule.included);
                (Sealed { identifier, value, timestamp }, Some(untimely.to_string()))
            }
        };
        let state = match &late {
            _ if !sealed.is_to_be_sent() => ReportState::Done,
            Some(_) => ReportState::Dead,
            None => ReportState::Pending,
        };
        Self {
            organization: bucket.organization,
            units: bucket.units,
            error: late.filter(|_| state == ReportState::Dead),
            sealed,
            state,
            attempts: Attempts::default(),
            done_at: None,
        }
    }

    /// The report of units that are on no bill: done, with nothing to report.
    fn unbilled(bucket: &Bucket) -> Self {
        Self {
            organization: bucket.organization,
            sealed: Sealed {
                identifier: bucket.identifier(),
                value: 0,
                timestamp: bucket.hour.max(bucket.period.start),
            },
            units: bucket.units,
            state: ReportState::Done,
            attempts: Attempts::default(),
            done_at: None,
            error: Some("settled outside of the subscription's service: on no bill".to_owned()),
        }
    }

    /// Whether Stripe acknowledged it so recently that Stripe's sums may not include it.
    #[must_use]
    pub fn is_recent(&self, now: Timestamp) -> bool {
        self.done_at.is_some_and(|at| now < at.plus(SUMMARY_LAG))
    }

    /// The report with one more attempt, to be committed before that attempt is made. If the first
    /// attempt is too old for Stripe to recognize a repetition, the report is to be compared
    /// instead.
    #[must_use]
    pub fn attempted(self, now: Timestamp) -> Self {
        match self.attempts.step(now) {
            Step::Send => Self { attempts: self.attempts.and_one(now), ..self },
            Step::Reconcile => Self { state: ReportState::Reconcile, ..self },
        }
    }
}

impl ReportState {
    /// The state's name in stores and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Reconcile => "reconcile",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

/// A text that is not the name of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of pending, reconcile, done, dead")]
pub struct UnknownState(String);

impl std::str::FromStr for ReportState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let all = [Self::Pending, Self::Reconcile, Self::Done, Self::Dead];
        let found = all.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownState(text.to_owned()))
    }
}
