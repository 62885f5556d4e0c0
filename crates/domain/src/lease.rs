//! Leases: a store grants units to several nodes, so that they need not ask it for every request.
//!
//! The [`LeaseGrantor`] of an organization counts the units used in the period and the units that
//! each node has reserved (units it may still admit, and units it holds for requests in progress).
//! Its invariant is I4: used units plus all reservations never exceed the cap that the lease was
//! granted under. A reservation that its node does not renew lapses; a hold that is settled after
//! that takes units from what is left, or is refused.
//!
//! A node numbers its lease requests, and each settlement reports the number of the lease that it
//! was made under. So the node knows whether a grant already includes a settlement that was in
//! progress while the node asked.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entitlement::Terms;
use crate::id::NodeId;
use crate::period::{Period, PeriodId};
use crate::time::Timestamp;

/// One renewal grants at most an eighth of the units that are left, and at least one unit.
const CHUNK_DIVISOR: u64 = 8;

/// How a grantor divides units among nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// There is one node: it gets all units that are left, until the period ends.
    Whole,
    /// There are several nodes: each gets chunks, which shrink as fewer units are left.
    Chunks {
        /// How long a lease lives.
        ttl: Duration,
    },
}

/// A node's request for a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAsk {
    /// The terms, computed from the node's cached records.
    pub terms: Terms,
    /// The request's number: greater than the numbers of the node's earlier requests.
    pub number: u64,
    /// Units that the node holds or may still admit at the time of asking: they stay reserved.
    pub keep: u64,
    /// Further units wanted; with zero, the node returns all units beyond `keep`.
    pub want: u64,
}

/// A grantor's answer to a [`LeaseAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// The period's number in the store.
    pub period: PeriodId,
    /// The terms that the lease was granted for.
    pub terms: Terms,
    /// Units reserved for the node in total; `None` when there is no cap.
    pub reserved: Option<u64>,
    /// Units settled in the period, by all nodes.
    pub used: u64,
    /// How long the lease is valid, counted from before the node asked.
    pub ttl: Duration,
    /// After how long asking for more may help; zero means immediately.
    pub retry_after: Duration,
}

/// The reservation lapsed and too few units are left: nothing was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the reservation lapsed and no unit is left")]
pub struct Lapsed;

/// Grants the leases of one organization, and counts what its nodes reserved and used.
#[derive(Debug, Clone)]
pub struct LeaseGrantor {
    period: PeriodId,
    terms: Terms,
    used: u64,
    reservations: HashMap<NodeId, Reservation>,
    /// The terms under which alerts of reached thresholds were last raised.
    alerted_terms: Option<Terms>,
}

#[derive(Debug, Clone, Copy)]
struct Reservation {
    units: u64,
    /// The number of the lease request that it answers.
    number: u64,
    until: Timestamp,
}

impl LeaseGrantor {
    /// A grantor for a period in which `used` units are settled already.
    #[must_use]
    pub fn open(period: PeriodId, terms: Terms, used: u64) -> Self {
        Self { period, terms, used, reservations: HashMap::new(), alerted_terms: None }
    }

    /// The period's number in the store.
    #[must_use]
    pub const fn period_id(&self) -> PeriodId {
        self.period
    }

    /// The period's bounds.
    #[must_use]
    pub const fn period(&self) -> Period {
        self.terms.period
    }

    /// The terms under which units were last leased.
    #[must_use]
    pub const fn terms(&self) -> Terms {
        self.terms
    }

    /// Units settled in the period.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Notes the terms in force. If they are new and units are used already, returns the used
    /// units: the caller must raise the alerts of the thresholds that these units reach under the
    /// new terms ([`crate::alert::reached`]).
    pub fn apply_terms(&mut self, terms: Terms) -> Option<u64> {
        let is_new = self.alerted_terms.replace(terms) != Some(terms);
        (is_new && self.used > 0).then_some(self.used)
    }

    /// Renews or extends a node's lease, or takes back its units.
    pub fn lease(
        &mut self,
        node: NodeId,
        ask: &LeaseAsk,
        sharing: Sharing,
        now: Timestamp,
    ) -> LeaseGrant {
        self.expire(now);
        self.terms = ask.terms;
        self.reservations.remove(&node);
        let to_period_end = self.terms.period.end.since(now);
        let ttl = match sharing {
            Sharing::Whole => to_period_end,
            Sharing::Chunks { ttl } => ttl.min(to_period_end),
        };
        let reserved = self.terms.cap.map(|cap| {
            let free = cap.saturating_sub(self.used).saturating_sub(self.reserved());
            let kept = ask.keep.min(free);
            kept + extra(free - kept, ask.want, sharing)
        });
        let (units, number) = (reserved.unwrap_or(0), ask.number);
        self.reservations.insert(node, Reservation { units, number, until: now.plus(ttl) });
        LeaseGrant {
            period: self.period,
            terms: self.terms,
            reserved,
            used: self.used,
            ttl,
            retry_after: match sharing {
                Sharing::Whole if ask.want > 0 => to_period_end,
                Sharing::Whole | Sharing::Chunks { .. } => Duration::ZERO,
            },
        }
    }

    /// Counts units as used. Takes them from the node's reservation, and any missing ones from what
    /// is left. Returns the number of the node's lease, or `None` if the lease lapsed.
    ///
    /// # Errors
    /// [`Lapsed`] when the reservation and what is left are too small; nothing changes then.
    pub fn settle(
        &mut self,
        node: NodeId,
        units: u64,
        now: Timestamp,
    ) -> Result<Option<u64>, Lapsed> {
        self.expire(now);
        let lease = self.reservations.get(&node).map(|reservation| reservation.number);
        let Some(cap) = self.terms.cap else {
            self.used = self.used.saturating_add(units);
            return Ok(lease);
        };
        let own = self.reservations.get(&node).map_or(0, |reservation| reservation.units);
        let from_own = own.min(units);
        let free = cap.saturating_sub(self.used).saturating_sub(self.reserved());
        if units - from_own > free {
            return Err(Lapsed);
        }
        if let Some(reservation) = self.reservations.get_mut(&node) {
            reservation.units -= from_own;
        }
        self.used = self.used.saturating_add(units);
        Ok(lease)
    }

    /// Uncounts units whose settlement did not commit, or was voided.
    pub fn unsettle(&mut self, units: u64) {
        self.used = self.used.saturating_sub(units);
    }

    /// Switches to another period: all reservations of the old one lapse.
    pub fn change_period(&mut self, period: PeriodId, bounds: Period, used: u64) {
        self.period = period;
        self.terms.period = bounds;
        self.used = used;
        self.alerted_terms = None;
        self.reservations.clear();
    }

    fn reserved(&self) -> u64 {
        self.reservations.values().fold(0, |sum, held| sum.saturating_add(held.units))
    }

    fn expire(&mut self, now: Timestamp) {
        self.reservations.retain(|_, reservation| now < reservation.until);
    }
}

fn extra(free: u64, want: u64, sharing: Sharing) -> u64 {
    if want == 0 || free == 0 {
        return 0;
    }
    match sharing {
        Sharing::Whole => free,
        Sharing::Chunks { .. } => want.min((free / CHUNK_DIVISOR).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKS: Sharing = Sharing::Chunks { ttl: Duration::from_secs(2) };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    fn terms(cap: u64) -> Terms {
        Terms::free(Period { start: at(-100), end: at(1_000) }, cap, Some(cap))
    }

    fn ask(cap: u64, keep: u64, want: u64) -> LeaseAsk {
        LeaseAsk { terms: terms(cap), number: 1, keep, want }
    }

    #[test]
    fn one_node_gets_all_that_is_left() {
        let mut grantor = LeaseGrantor::open(PeriodId(1), terms(100), 40);
        let grant = grantor.lease(node(1), &ask(100, 0, 1), Sharing::Whole, at(0));
        assert_eq!(grant.reserved, Some(60));
        assert_eq!(grant.ttl, Duration::from_secs(1_000));
    }

    #[test]
    fn chunks_shrink_and_never_exceed_the_cap() {
        let mut grantor = LeaseGrantor::open(PeriodId(1), terms(16), 0);
        assert_eq!(grantor.lease(node(1), &ask(16, 0, 100), CHUNKS, at(0)).reserved, Some(2));
        assert_eq!(grantor.lease(node(2), &ask(16, 0, 100), CHUNKS, at(0)).reserved, Some(1));
        assert_eq!(grantor.lease(node(1), &ask(16, 2, 100), CHUNKS, at(1)).reserved, Some(3));
        let other = grantor.lease(node(2), &ask(16, 13, 0), CHUNKS, at(1));
        assert_eq!(other.reserved, Some(13), "all of `keep`, since that much is free");
        assert_eq!(grantor.lease(node(1), &ask(16, 3, 100), CHUNKS, at(1)).reserved, Some(3));
    }

    #[test]
    fn settling_after_the_lease_lapsed_takes_what_is_left_or_fails() {
        let mut grantor = LeaseGrantor::open(PeriodId(1), terms(1), 0);
        grantor.lease(node(1), &ask(1, 0, 1), CHUNKS, at(0));
        assert_eq!(grantor.lease(node(2), &ask(1, 0, 1), CHUNKS, at(1)).reserved, Some(0));
        assert_eq!(grantor.lease(node(2), &ask(1, 0, 1), CHUNKS, at(2)).reserved, Some(1));
        assert_eq!(grantor.settle(node(1), 1, at(2)), Err(Lapsed));
        assert_eq!(grantor.settle(node(2), 1, at(3)), Ok(Some(1)));
        assert_eq!(grantor.used(), 1);
    }

    #[test]
    fn without_a_cap_everything_settles() {
        let open = Terms { cap: None, ..terms(1) };
        let mut grantor = LeaseGrantor::open(PeriodId(1), open, 0);
        let ask = LeaseAsk { terms: open, number: 7, keep: 0, want: 1 };
        let grant = grantor.lease(node(1), &ask, CHUNKS, at(0));
        assert_eq!(grant.reserved, None);
        assert_eq!(grantor.settle(node(1), 2, at(1)), Ok(Some(7)));
        assert_eq!(grantor.settle(node(1), 3, at(9)), Ok(None), "the lease lapsed");
        assert_eq!(grantor.used(), 5);
    }

    #[test]
    fn terms_are_new_once() {
        let mut grantor = LeaseGrantor::open(PeriodId(1), terms(10), 0);
        assert_eq!(grantor.apply_terms(terms(10)), None, "nothing is used");
        grantor.lease(node(1), &ask(10, 0, 4), CHUNKS, at(0));
        assert_eq!(grantor.settle(node(1), 1, at(0)), Ok(Some(1)));
        assert_eq!(grantor.apply_terms(terms(10)), None, "these terms were applied before the use");
        assert_eq!(grantor.apply_terms(terms(1)), Some(1));
        assert_eq!(grantor.apply_terms(terms(1)), None);
        grantor.change_period(PeriodId(2), Period { start: at(0), end: at(2_000) }, 5);
        assert_eq!(grantor.apply_terms(terms(1)), Some(5), "units were used before the change");
        assert_eq!(LeaseGrantor::open(PeriodId(1), terms(1), 7).apply_terms(terms(1)), Some(7));
    }

    #[test]
    fn a_period_change_starts_from_what_the_new_period_has() {
        let mut grantor = LeaseGrantor::open(PeriodId(1), terms(10), 10);
        grantor.change_period(PeriodId(2), Period { start: at(1_000), end: at(2_000) }, 0);
        assert_eq!(grantor.settle(node(1), 1, at(1_000)), Ok(None));
        assert_eq!((grantor.used(), grantor.period_id()), (1, PeriodId(2)));
    }
}
