//! One meter event: the form that is posted, and a time that Stripe takes.

use std::time::Duration;

use super::seal::{Sealed, end};
use crate::period::Period;
use crate::time::Timestamp;

/// How far back Stripe takes a meter event.
const PAST_MAX: Duration = Duration::from_secs(35 * 86_400);
/// How far ahead.
const FUTURE_MAX: Duration = Duration::from_secs(5 * 60);
/// What the way to Stripe, and a clock that is not quite ours, may take of either.
const MARGIN: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// `POST /v1/billing/meter_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterEvent<'a> {
    /// The meter's event name.
    pub event_name: &'a str,
    /// Whose usage it is, `cus_…`.
    pub customer: &'a str,
    /// What is told.
    pub sealed: &'a Sealed,
}

/// There is no time within the period that Stripe takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untimely {
    /// The period ended more than 35 days ago.
    #[error("the period ended more than 35 days ago: Stripe takes no usage for it any more")]
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

/// The time that a bucket is stamped with: its last whole second, moved into the billing period,
/// into the subscription's `service` (Stripe puts nothing on a bill that is stamped after a
/// subscription ended, be it in the middle of an hour), and into what Stripe takes at `now`.
///
/// # Errors
/// [`Untimely`] when period, service and what Stripe takes have no second in common.
pub fn timestamp(
    hour: Timestamp,
    period: Period,
    service: Period,
    now: Timestamp,
) -> Result<Timestamp, Untimely> {
    stamp(second_before(end(hour, period)), period, service, now)
}

/// A whole second, moved likewise.
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
