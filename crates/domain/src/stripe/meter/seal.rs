//! Sealing: which buckets are complete, and how many units of them are reported.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Untimely, timestamp};
use super::report::SealRule;
use crate::id::OrganizationId;
use crate::period::Period;
use crate::time::Timestamp;
use crate::usage::BUCKET_SECS;

/// How long after its end a bucket is sealed. By then settlements in progress have committed, and
/// settlements of unknown outcome are resolved.
const SEAL_DELAY: Duration = Duration::from_secs(30);

/// Which units are reported to Stripe. Never both, or units would be billed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportMode {
    /// Every unit, against a graduated price whose first tier is free.
    #[default]
    Total,
    /// The units beyond the included ones, against a price per unit.
    Overage,
}

/// One hour of one organization's usage within one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The organization that used the units.
    pub organization: OrganizationId,
    /// The period that it counts in.
    pub period: Period,
    /// The hour's start.
    pub hour: Timestamp,
    /// 0, or the number of a later correction of the same hour.
    pub part: u32,
    /// Units settled in it.
    pub units: u64,
}

/// Sums over what was sealed before in the same period, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    /// The units of the sealed buckets.
    pub units: u64,
    /// The values of their reports and of corrections.
    pub value: i64,
}

/// The meter event of a sealed bucket; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The meter event's `identifier`; at most 100 characters.
    pub identifier: String,
    /// Its value, in units; negative if it corrects overage that was reported in excess.
    pub value: i64,
    /// Its time, within the period.
    pub timestamp: Timestamp,
}

/// Whether a bucket is complete: its hour or its period is over, and [`SEAL_DELAY`] has passed.
#[must_use]
pub fn is_due(hour: Timestamp, period: Period, now: Timestamp) -> bool {
    now >= end(hour, period).plus(SEAL_DELAY)
}

/// Seals a bucket. In `overage` mode its value is the overage of everything sealed so far minus
/// what was reported, but not below 0. So the values of a period add up to its overage exactly,
/// whatever the order. If `included` was raised so that too much was reported, a correction takes
/// back the excess ([`super::correction`]).
///
/// # Errors
/// [`Untimely`] if Stripe accepts no time within the period any more.
pub fn seal(
    bucket: &Bucket,
    rule: SealRule,
    before: Reported,
    now: Timestamp,
) -> Result<Sealed, Untimely> {
    let value = rule.mode.value(bucket, before, rule.included);
    let timestamp = timestamp(bucket.hour, bucket.period, rule.service, now)?;
    Ok(Sealed { identifier: bucket.identifier(), value, timestamp })
}

impl ReportMode {
    /// The value of a bucket's report, in units; see [`seal`].
    #[must_use]
    pub(super) fn value(self, bucket: &Bucket, before: Reported, included: u64) -> i64 {
        match self {
            Self::Total => quantity(bucket.units),
            Self::Overage => {
                let units = before.units.saturating_add(bucket.units);
                overage(units, included).saturating_sub(before.value).max(0)
            }
        }
    }
}

/// Units beyond the included ones.
pub(super) fn overage(units: u64, included: u64) -> i64 {
    quantity(units.saturating_sub(included))
}

/// Units as a meter event's value. Real counts are far below 2^63.
fn quantity(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

impl Bucket {
    /// Its unique identifier at Stripe, made from organization, period, hour and part only.
    #[must_use]
    pub fn identifier(&self) -> String {
        format!(
            "dl-{}-{}-{}-{}-{}",
            hex::encode(self.organization.as_bytes()),
            self.period.start.secs(),
            self.period.end.secs(),
            self.hour.secs(),
            self.part
        )
    }
}

/// The organization in a report's identifier; `None` if the identifier is not ours.
#[must_use]
pub fn organization_of(identifier: &str) -> Option<OrganizationId> {
    let name = identifier.strip_prefix("dl-")?.split('-').next()?;
    let bytes: [u8; 16] = hex::decode(name).ok()?.try_into().ok()?;
    Some(OrganizationId::from_bytes(bytes))
}

/// A text that sorts after all identifiers of an organization and before those of the next one.
#[must_use]
pub fn identifiers_end(organization: OrganizationId) -> String {
    format!("dl-{}-~", hex::encode(organization.as_bytes()))
}

impl Sealed {
    /// Whether it is sent at all: a value of 0 is not.
    #[must_use]
    pub const fn is_to_be_sent(&self) -> bool {
        self.value != 0
    }
}

/// The end of a bucket: the first instant after it.
pub(super) fn end(hour: Timestamp, period: Period) -> Timestamp {
    let width = Duration::from_secs(BUCKET_SECS.unsigned_abs());
    hour.plus(width).min(period.end)
}

#[cfg(test)]
#[path = "../tests/seal.rs"]
mod tests;
