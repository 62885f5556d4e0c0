//! Reports: sealed buckets on their way to Stripe, as a store keeps them.

use serde::{Deserialize, Serialize};

use super::delivery::{Attempts, Step};
use super::reconcile::SUMMARY_LAG;
use super::seal::{Bucket, ReportMode, Reported, Sealed, seal};
use crate::id::OrganizationId;
use crate::period::Period;
use crate::time::Timestamp;

/// How an organization's buckets are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealRule {
    /// What Stripe is told.
    pub mode: ReportMode,
    /// Units included in a period: what is beyond them is overage.
    pub included: u64,
    /// When the subscription serves: only its own periods' usage is told.
    pub service: Period,
    /// The period that `included` is in force in, while the subscription is live: what was reported
    /// in it under other terms is corrected. Other periods are billed by the terms that they had.
    pub in_force: Option<Period>,
}

impl SealRule {
    /// Whether a bucket is on the subscription's bill. One of a period that began before is of a
    /// time when nobody paid for units.
    #[must_use]
    pub fn bills(&self, bucket: &Bucket) -> bool {
        let first = bucket.hour.max(bucket.period.start);
        self.service.start <= bucket.period.start && first < self.service.end
    }
}

/// How far a report came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportState {
    /// It is to be sent.
    Pending,
    /// Whether Stripe has it is unknown: it is compared with Stripe's sums.
    Reconcile,
    /// Stripe has it, or there was nothing to tell.
    Done,
    /// A person has to look at it.
    Dead,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whose usage it is.
    pub organization: OrganizationId,
    /// What is told.
    pub sealed: Sealed,
    /// The units that it stands for.
    pub units: u64,
    /// How far it came.
    pub state: ReportState,
    /// What was tried.
    pub attempts: Attempts,
    /// When Stripe acknowledged it.
    pub done_at: Option<Timestamp>,
    /// What is wrong with it, or why nothing of it is told.
    pub error: Option<String>,
}

/// Sums over one period of an organization, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodSums {
    /// The period.
    pub period: Period,
    /// Settled: what the usage API shows.
    pub settled: u64,
    /// Of these in sealed buckets.
    pub sealed: u64,
    /// Of these in buckets that are still to be sealed.
    pub open: u64,
    /// Values of sealed buckets that Stripe acknowledged.
    pub acknowledged: i64,
    /// Values of sealed buckets that are still to be told, or of unknown outcome.
    pub outstanding: i64,
    /// Values of those that a person has to look at.
    pub dead: i64,
}

impl Report {
    /// A bucket's report, as it is entered; one that Stripe takes no time for any more is dead from
    /// the beginning, and one of no units is done, as is one that is on no bill.
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

    /// Units that are counted and on no bill: closed, with nothing to be told.
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

    /// Whether Stripe acknowledged it so recently that its sums may not show it.
    #[must_use]
    pub fn is_recent(&self, now: Timestamp) -> bool {
        self.done_at.is_some_and(|at| now < at.plus(SUMMARY_LAG))
    }

    /// The same with one more attempt, to be entered before it is made; or to be compared, if its
    /// first one is too long ago for Stripe to recognize a repetition.
    #[must_use]
    pub fn attempted(self, now: Timestamp) -> Self {
        match self.attempts.step(now) {
            Step::Send => Self { attempts: self.attempts.and_one(now), ..self },
            Step::Reconcile => Self { state: ReportState::Reconcile, ..self },
        }
    }
}

impl ReportState {
    /// Its name in a store.
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

/// No report is in such a state.
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
