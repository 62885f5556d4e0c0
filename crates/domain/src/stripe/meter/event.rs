//! One meter event: the form that is posted, and a time that Stripe accepts.

use std::time::Duration;

use super::seal::{Sealed, end};
use crate::period::Period;
use crate::time::Timestamp;

/// How far in the past a meter event's time may lie.
const PAST_MAX: Duration = Duration::from_secs(35 * 86_400);
/// How far in the future a meter event's time may lie.
const FUTURE_MAX: Duration = Duration::from_secs(5 * 60);
/// A margin in both directions for the time of the call and for clocks that differ.
const MARGIN: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// `POST /v1/billing/meter_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterEvent<'a> {
    /// The meter's event name.
    pub event_name: &'a str,
    /// The customer who used the units, `cus_…`.
    pub customer: &'a str,
    /// The sealed bucket.
    pub sealed: &'a Sealed,
}

/// Stripe accepts no time within the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untimely {
    /// The period ended more than 35 days ago.
    #[error("the period ended more than 35 days ago: Stripe accepts no usage for it any more")]
    TooLate,
    /// The period has not begun.
    #[error("the period has not begun")]
    TooEarly,
}

impl MeterEvent<'_> {
    /// The form's fields, in Stripe's notation; the value is whole units as text.
    #[must_use]
    pub fn form(&self) -> [(&'static str, String); 5] {
        [
            ("event_name", self.event_name.to_owned()),
            ("identifier", self.sealed.identifier.clone()),
            ("payload[stripe_customer_id]", self.customer.to_owned()),
            ("payload[value]", self.sealed.value.to_string()),
            ("timestamp", self.sealed.timestamp.secs().to_string()),
        ]
    }
}

/// The time of a bucket's meter event: the bucket's last whole second, moved into the billing
/// period, into the subscription's `service`, and into the times that Stripe accepts at `now`.
/// Stripe bills no meter event with a time after the subscription's end, even within an hour.
///
/// # Errors
/// [`Untimely`] if the period, the service and the accepted times have no second in common.
pub fn timestamp(
    hour: Timestamp,
    period: Period,
    service: Period,
    now: Timestamp,
) -> Result<Timestamp, Untimely> {
    stamp(second_before(end(hour, period)), period, service, now)
}

/// Moves a whole second in the same way.
pub(super) fn stamp(
    second: Timestamp,
    period: Period,
    service: Period,
    now: Timestamp,
) -> Result<Timestamp, Untimely> {
    let billed =
        Period { start: period.start.max(service.start), end: period.end.min(service.end) };
    let earliest = second_from(billed.start).max(second_from(now.minus(PAST_MAX).plus(MARGIN)));
    let latest = second_before(billed.end).min(now.plus(FUTURE_MAX).minus(MARGIN).floor_to(1));
    if earliest > latest {
        let late = second_before(billed.end) < earliest;
        return Err(if late { Untimely::TooLate } else { Untimely::TooEarly });
    }
    Ok(second.clamp(earliest, latest))
}

/// The first whole second at or after an instant.
fn second_from(instant: Timestamp) -> Timestamp {
    let floor = instant.floor_to(1);
    if floor == instant { floor } else { floor.plus(SECOND) }
}

/// The last whole second before an instant.
fn second_before(instant: Timestamp) -> Timestamp {
    second_from(instant).minus(SECOND)
}
