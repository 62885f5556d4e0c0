//! Sealing: which buckets are done growing, and what of them Stripe is to be told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Untimely, timestamp};
use super::report::SealRule;
use crate::id::OrganizationId;
use crate::period::Period;
use crate::time::Timestamp;
use crate::usage::BUCKET_SECS;

/// How long after its end a bucket is sealed: settlements that were under way have committed, and
/// those whose outcome is unknown are resolved.
const SEAL_DELAY: Duration = Duration::from_secs(30);

/// What Stripe is told: never both, or units would be billed twice.
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
    /// Who pays.
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

/// What was sealed before in the same period, in whatever order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    /// The units of the sealed buckets.
    pub units: u64,
    /// The values that they were sealed with, and those of corrections.
    pub value: i64,
}

/// A bucket as it will be told, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The meter event's `identifier`; at most 100 characters.
    pub identifier: String,
    /// Its value, in units; negative where it takes back what Stripe was told too much of.
    pub value: i64,
    /// Its time, within the period.
    pub timestamp: Timestamp,
}

/// Whether a bucket has done growing: its hour is over, or its period is.
#[must_use]
pub fn is_due(hour: Timestamp, period: Period, now: Timestamp) -> bool {
    now >= end(hour, period).plus(SEAL_DELAY)
}

/// Seals a bucket. In `overage` mode its value is what the overage of everything sealed so far
/// exceeds what was reported, so that the values of a period add up to its overage exactly,
/// whatever the order. Where `included` was raised below what was reported, a correction takes the
/// rest back ([`super::correction`]).
///
/// # Errors
/// [`Untimely`] when Stripe takes no time within the period any more.
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
    /// What is told of a bucket, in units; see [`seal`].
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

/// Units as a meter event's value. Nothing that is counted here comes near 2^63.
fn quantity(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

impl Bucket {
    /// What makes it unique at Stripe: organization, period, hour and part, and nothing else.
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

/// The organization whose bucket an identifier is of; `None` for one that is not ours.
#[must_use]
pub fn organization_of(identifier: &str) -> Option<OrganizationId> {
    let name = identifier.strip_prefix("dl-")?.split('-').next()?;
    let bytes: [u8; 16] = hex::decode(name).ok()?.try_into().ok()?;
    Some(OrganizationId::from_bytes(bytes))
}

/// What comes after all identifiers of an organization's buckets, and before the next one's.
#[must_use]
pub fn identifiers_end(organization: OrganizationId) -> String {
    format!("dl-{}-~", hex::encode(organization.as_bytes()))
}

impl Sealed {
    /// Whether Stripe is to be told at all; nothing is told of no overage.
    #[must_use]
    pub const fn is_to_be_sent(&self) -> bool {
        self.value != 0
    }
}

/// The first instant after a bucket.
pub(super) fn end(hour: Timestamp, period: Period) -> Timestamp {
    let width = Duration::from_secs(BUCKET_SECS.unsigned_abs());
    hour.plus(width).min(period.end)
}

#[cfg(test)]
#[path = "../tests/seal.rs"]
mod tests;
