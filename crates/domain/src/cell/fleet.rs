//! How a cell applies an answer about the rate limits that its fleet shares.
//!
//! The fleet's buckets have at least as much used up as this node's buckets, which count only the
//! node's own requests. By copying the fleet's state, the cell denies what the fleet would deny
//! without asking it; and when the fleet's store is unavailable, the cell continues from the
//! fleet's last state. The state is dated at the time before the store was asked, so that the cell
//! never denies a request that the fleet would allow.

use super::{Cell, Charge, LimitsNow};
use crate::fleet::{FleetAnswer, Share, Verdict};
use crate::limit::Bucket;
use crate::time::Timestamp;

impl Cell {
    /// Applies the fleet's answer about a request that this cell had admitted: copies the state of
    /// the fleet's buckets, and if the fleet took nothing, gives back what the cell took from its
    /// own. Returns the limits afterwards. The caller must end the hold.
    pub fn apply_fleet_answer(
        &mut self,
        charge: &Charge,
        answer: &FleetAnswer,
        asked: Timestamp,
        now: Timestamp,
    ) -> LimitsNow {
        let share = Share::of(charge);
        let key = self.buckets.entry(charge.key).or_default();
        if answer.verdict != Verdict::Taken {
            *key = key.give_back(share.key_limit);
            if let Some(limit) = share.organization_limit {
                self.organization = self.organization.give_back(limit);
            }
        }
        *key = key.or_emptier(Bucket::ahead(answer.key_ahead, asked));
        let key = *key;
        if share.organization_limit.is_some() {
            let fleet = Bucket::ahead(answer.organization_ahead, asked);
            self.organization = self.organization.or_emptier(fleet);
        }
        let local = self.limits(charge, share.key_limit, key, now);
        answer.limits(&share, local.quota)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::cell::NotAdmitted;
    use crate::denial::{Denial, LimitScope};
    use crate::entitlement::Terms;
    use crate::id::KeyId;
    use crate::period::Period;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + millis * 1_000)
    }

    fn charge() -> Charge {
        let period = Period::calendar_month(at(0));
        Charge {
            key: KeyId::from_bytes([1; 16]),
            key_requests_per_minute: NonZeroU32::new(60).expect("not 0"),
            organization_requests_per_minute: NonZeroU32::new(6),
            terms: Terms::free(period, 10, None),
            hold: None,
        }
    }

    fn answer(verdict: Verdict, key_secs: u64, organization_secs: u64) -> FleetAnswer {
        FleetAnswer {
            verdict,
            key_ahead: Duration::from_secs(key_secs),
            organization_ahead: Duration::from_secs(organization_secs),
        }
    }

    #[test]
    fn what_the_fleet_used_up_is_denied_without_asking() {
        let (mut cell, charge) = (Cell::default(), charge());
        cell.admit(&charge, at(0)).expect("a new cell admits");
        let limits = cell.apply_fleet_answer(&charge, &answer(Verdict::Taken, 1, 60), at(0), at(3));
        assert_eq!((limits.key.remaining, limits.key.reset_secs), (59, 1));
        let organization = limits.organization.expect("it has a limit");
        assert_eq!((organization.remaining, organization.reset_secs), (0, 10));
        let wait = Duration::from_secs(9);
        let denied = cell.admit(&charge, at(1_000));
        let scope = LimitScope::Organization;
        assert!(
            matches!(&denied, Err(NotAdmitted::Denied(denial, _))
                if *denial == Denial::RateLimited { scope, wait }),
            "{denied:?}"
        );
        assert!(cell.admit(&charge, at(10_000)).is_ok());
    }

    #[test]
    fn what_the_fleet_refused_is_given_back() {
        let (mut cell, charge) = (Cell::default(), charge());
        for _ in 0..3 {
            cell.admit(&charge, at(0)).expect("within the burst");
            let refused = answer(Verdict::OrganizationUsedUp, 0, 60);
            let limits = cell.apply_fleet_answer(&charge, &refused, at(0), at(1));
            assert_eq!(limits.key.remaining, 60, "the key's own limit loses nothing");
            cell.organization = Bucket::default();
        }
        assert!(cell.buckets[&charge.key].is_full(at(0)));
    }
}
