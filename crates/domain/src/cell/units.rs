//! What a cell knows of its organization's units: the lease, what is used, what may still be held.
//!
//! While a grant is on its way to the node, the grantor may count further settlements, so that the
//! grant includes some settlements and not others. Lease requests and settlements are therefore
//! numbered: a settlement under an earlier lease than the present one is included in the present
//! lease's `used`, and the units kept for it are free. So after each grant, `available` is what the
//! grantor reserves for this node, less what is held and what was settled since, and never more
//! than that (I4). Where a number is missing (the lease had lapsed, a settlement was attempted
//! twice, no grant arrived), the cell counts the units as taken and marks itself stale: it asks
//! again before it denies for lack of units, and at its next renewal.

use std::time::Duration;

use super::{Cell, Charge, HoldAsk, NotAdmitted, QuotaState};
use crate::denial::Denial;
use crate::entitlement::Terms;
use crate::lease::{LeaseAsk, LeaseGrant};
use crate::time::{Timestamp, secs_ceil};

/// The units that a node asks for at least, so that it need not ask for each request.
const WANT: u64 = 1_024;
/// How long after it asked for its last lease a node reports the units left, although the lease
/// ended. The number may be too high: other nodes may have used units since.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// How long a cell waits after an unanswered request before it asks for numbers only to report
/// them.
const ASKED_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Units {
    lease: Option<Lease>,
    /// Units settled in the lease's period.
    used: u64,
    /// The number of the last lease request.
    asked: u64,
    /// Units settled since that request, which its grant does not include.
    after: u64,
    /// Whether the grantor may have other numbers than the cell.
    is_stale: bool,
    /// The terms of a free request whose response could not report the units left, or reported an
    /// old number.
    wanted: Option<Terms>,
    /// Before this time, the cell does not ask for numbers only to report them.
    asked_again: Timestamp,
}

#[derive(Debug)]
struct Lease {
    terms: Terms,
    number: u64,
    /// Units that may still be held; `None` without a cap. Below zero when a lowered cap or a
    /// lapsed lease left holds without units: returned units fill that gap first.
    available: Option<i64>,
    asked: Timestamp,
    until: Timestamp,
    ask_again: Timestamp,
}

impl Cell {
    /// The request that the renewal job sends to the grantor: `Some` when the lease ends before
    /// `before` and units are held or left, when the cell is stale, or when it could not report the
    /// units left. A renewal keeps what is held and gives back idle units, unless the cell is
    /// stale.
    #[must_use]
    pub fn renewal(&self, before: Timestamp, now: Timestamp) -> Option<LeaseAsk> {
        let is_due = now >= self.units.asked_again;
        let wanted = self.units.wanted.filter(|terms| is_due && terms.period.contains(now));
        if let Some(terms) = wanted {
            return Some(self.ask(terms, 0, 0, now));
        }
        let lease = self.units.lease.as_ref()?;
        // A lease is not renewed beyond its period: held units are settled in the next period.
        if lease.terms.period.end <= before {
            return None;
        }
        if self.units.is_stale && is_due {
            return Some(self.ask(lease.terms, lease.left(), 0, now));
        }
        let nothing = self.held == 0 && lease.left() == 0;
        if lease.until >= before || nothing {
            return None;
        }
        Some(self.ask(lease.terms, 0, 0, now))
    }

    /// The request for the quota's numbers that a free request causes when the cell does not know
    /// the units left.
    #[must_use]
    pub fn quota_snapshot_ask(&self, terms: Terms, now: Timestamp) -> Option<LeaseAsk> {
        let is_unknown = self.quota(&terms, now).remaining.is_none();
        let is_due = is_unknown && now >= self.units.asked_again && terms.period.contains(now);
        is_due.then(|| self.ask(terms, 0, 0, now))
    }

    /// Prepares the cell for a lease request: units that it gives back must not be admitted
    /// meanwhile.
    pub fn asking(&mut self, ask: &LeaseAsk) {
        if let Some(lease) = &mut self.units.lease
            && ask.keep <= self.held
        {
            lease.available = lease.available.map(|available| available.min(0));
        }
        self.units.asked = ask.number;
        self.units.after = 0;
        self.units.is_stale = false;
        self.units.wanted = None;
    }

    /// Applies the grant of a lease request that was made at `asked`.
    pub fn granted(&mut self, ask: &LeaseAsk, grant: &LeaseGrant, asked: Timestamp) {
        let taken = signed(self.held).saturating_add(signed(self.units.after));
        let available = grant.reserved.map(|reserved| signed(reserved).saturating_sub(taken));
        self.units.used = grant.used.saturating_add(self.units.after);
        self.units.lease = Some(Lease {
            terms: grant.terms,
            number: ask.number,
            available,
            asked,
            until: asked.plus(grant.ttl),
            ask_again: asked.plus(grant.retry_after),
        });
    }

    /// Notes that no grant arrived: the grantor may have changed the reservation nevertheless.
    pub fn not_granted(&mut self, now: Timestamp) {
        self.units.is_stale = true;
        self.units.asked_again = now.plus(ASKED_AGAIN);
    }

    /// Notes that the grantor may have other numbers than this cell.
    pub fn mark_stale(&mut self) {
        self.units.is_stale = true;
    }

    /// The denial when the grantor has no more units: the quota is used up, or its last units are
    /// held.
    #[must_use]
    pub fn no_units(&self, charge: &Charge, units: u64, now: Timestamp) -> NotAdmitted {
        let Units { lease, used, is_stale, .. } = &self.units;
        let is_known = !is_stale
            && lease.as_ref().is_some_and(|lease| lease.terms.period == charge.terms.period);
        let is_used_up = charge.terms.cap.is_some_and(|cap| used.saturating_add(units) > cap);
        let denial = if is_known && is_used_up {
            Denial::QuotaExceeded { wait: charge.terms.period.end.since(now) }
        } else {
            Denial::QuotaHeld
        };
        let key_limit = charge.key_limit();
        let key = self.buckets.get(&charge.key).copied().unwrap_or_default();
        NotAdmitted::Denied(denial, Some(self.limits(charge, key_limit, key, now)))
    }

    pub(super) fn check_units(
        &self,
        ask: &HoldAsk,
        charge: &Charge,
        now: Timestamp,
    ) -> Result<(), NotAdmitted> {
        let (units, terms) = (u64::from(ask.units), charge.terms);
        if terms.period.end <= now {
            // The charge was computed before the period's end. The next request gets the terms of
            // the next period.
            return Err(self.no_units(charge, units, now));
        }
        let want = units.max(WANT);
        let live = |lease: &&Lease| lease.terms == terms && now < lease.until;
        let Some(lease) = self.units.lease.as_ref().filter(live) else {
            return Err(NotAdmitted::NeedsLease(self.ask(terms, 0, want, now)));
        };
        if lease.available.is_none_or(|available| available >= i64::from(ask.units)) {
            return Ok(());
        }
        if self.units.is_stale || now >= lease.ask_again {
            return Err(NotAdmitted::NeedsLease(self.ask(terms, lease.left(), want, now)));
        }
        Err(self.no_units(charge, units, now))
    }

    /// Notes a free request: if its quota headers are outdated or missing, the renewal job asks.
    pub(super) fn free(&mut self, terms: Terms, now: Timestamp) {
        let is_current = |lease: &Lease| lease.terms.period == terms.period && now < lease.until;
        if !self.units.lease.as_ref().is_some_and(is_current) {
            self.units.wanted = Some(terms);
        }
    }

    /// The quota as this node knows it.
    #[must_use]
    pub fn quota(&self, terms: &Terms, now: Timestamp) -> QuotaState {
        let is_known = self.units.lease.as_ref().is_some_and(|lease| {
            lease.terms.period == terms.period && now < lease.until.max(lease.asked.plus(KNOWN_FOR))
        });
        let gone = self.units.used.saturating_add(self.held);
        QuotaState {
            included: terms.included,
            remaining: is_known.then(|| terms.included.saturating_sub(gone)),
            window_secs: terms.period.window_secs(),
            reset_secs: secs_ceil(terms.period.end.since(now)),
        }
    }

    /// Counts held units as used; they were settled under this lease.
    pub(super) fn used_held(&mut self, units: u32, lease: Option<u64>) {
        if self.is_granted_since(lease) {
            self.give_back(units);
        } else {
            self.used(units, lease);
        }
    }

    /// Counts units whose hold had lapsed as used; they were settled under this lease.
    pub(super) fn used_lapsed(&mut self, units: u32, lease: Option<u64>) {
        if !self.is_granted_since(lease) {
            self.used(units, lease);
            self.take(units);
        }
    }

    pub(super) fn take(&mut self, units: u32) {
        if let Some(available) = self.available() {
            *available = available.saturating_sub(i64::from(units));
        }
    }

    pub(super) fn give_back(&mut self, units: u32) {
        if let Some(available) = self.available() {
            *available = available.saturating_add(i64::from(units));
        }
    }

    /// Whether the present lease was granted after a settlement under the lease `settled`.
    fn is_granted_since(&self, settled: Option<u64>) -> bool {
        let present = self.units.lease.as_ref().map(|lease| lease.number);
        settled.is_some_and(|settled| present.is_some_and(|present| settled < present))
    }

    fn used(&mut self, units: u32, lease: Option<u64>) {
        self.units.used = self.units.used.saturating_add(u64::from(units));
        if lease.is_none_or(|lease| lease >= self.units.asked) {
            self.units.after = self.units.after.saturating_add(u64::from(units));
        }
        if lease.is_none() && self.available().is_some() {
            self.units.is_stale = true;
        }
    }

    fn available(&mut self) -> Option<&mut i64> {
        self.units.lease.as_mut().and_then(|lease| lease.available.as_mut())
    }

    fn ask(&self, terms: Terms, available: u64, want: u64, now: Timestamp) -> LeaseAsk {
        // By the clock, the number is also greater than those of this node's earlier cells.
        let by_time = u64::try_from(now.micros()).unwrap_or(0);
        let number = by_time.max(self.units.asked.saturating_add(1));
        LeaseAsk { terms, number, keep: self.held.saturating_add(available), want }
    }
}

impl Lease {
    /// Units that may still be held.
    fn left(&self) -> u64 {
        self.available.map_or(0, |available| u64::try_from(available).unwrap_or(0))
    }
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
