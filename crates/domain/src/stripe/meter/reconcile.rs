//! Comparing rows of unknown outcome with Stripe's own sums (meter event summaries).
//!
//! A summary tells one sum per customer, meter and window. A row is called delivered or missing
//! only when no other explanation of that sum exists; else it stays unclear, for a person or for a
//! later summary, since Stripe takes events in with a delay.

use std::time::Duration;

use super::Sealed;
use crate::period::Period;
use crate::time::Timestamp;
use crate::usage::BUCKET_SECS;

/// Rows of unknown outcome in one window whose every combination is tried.
pub const UNCERTAIN_MAX: usize = 16;

/// What the sums say of one row.
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

/// The hour that a row's meter event falls in: what to ask a summary for.
#[must_use]
pub fn summary_window(sealed: &Sealed) -> Period {
    let start: Timestamp = sealed.timestamp.floor_to(BUCKET_SECS);
    Period { start, end: start.plus(Duration::from_secs(BUCKET_SECS.unsigned_abs())) }
}

/// What Stripe's sum over a window says of the rows of unknown outcome in it, given the sum of
/// those that were acknowledged; all in units.
#[must_use]
pub fn reconcile(acknowledged: u64, uncertain: &[u64], summary: u64) -> Vec<Found> {
    let Some(rest) = summary.checked_sub(acknowledged) else {
        return vec![Found::Unclear; uncertain.len()];
    };
    if uncertain.len() > UNCERTAIN_MAX {
        return vec![all_or_nothing(uncertain, rest); uncertain.len()];
    }
    let sum = |subset: u32| -> u128 {
        members(subset, uncertain.len()).map(|at| u128::from(uncertain[at])).sum()
    };
    let subsets = 0..1_u32 << uncertain.len();
    let fitting: Vec<u32> = subsets.filter(|subset| sum(*subset) == u128::from(rest)).collect();
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

fn all_or_nothing(uncertain: &[u64], rest: u64) -> Found {
    let all: u128 = uncertain.iter().map(|value| u128::from(*value)).sum();
    match u128::from(rest) {
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
            (0, &[5_u64][..], 5, vec![Delivered]),
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
        ] {
            assert_eq!(reconcile(acknowledged, uncertain, summary), expected, "{uncertain:?}");
        }
    }

    #[test]
    fn many_rows_are_all_there_or_none_is() {
        let rows = [3_u64; 20];
        assert_eq!(reconcile(0, &rows, 60), [Found::Delivered; 20]);
        assert_eq!(reconcile(0, &rows, 0), [Found::Missing; 20]);
        assert_eq!(reconcile(0, &rows, 57), [Found::Unclear; 20]);
        assert_eq!(reconcile(0, &[u64::MAX; 2], u64::MAX), [Found::Unclear; 2]);
    }
}
