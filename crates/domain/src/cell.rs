//! All live state of one organization on one node: rate buckets, the lease, holds, idempotency
//! keys in flight.
//!
//! Admission is all or nothing: every limit is looked at before anything is taken, so a denial
//! consumes nothing. A hold is plain data that the caller gives back by settling or releasing; one
//! that never comes back lapses. Who hands out the units is `lease.rs`'s matter, and what the cell
//! knows of them `cell/units.rs`'s; at the edge the cell is the Durable Object, natively it sits
//! behind a short lock.

mod fleet;
#[cfg(test)]
mod tests;
mod units;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::denial::{Denial, LimitScope};
use crate::entitlement::Terms;
use crate::id::{KeyId, UsageId};
use crate::idempotency::IdempotencyKey;
use crate::lease::LeaseAsk;
use crate::limit::{Bucket, Limit, LimitState};
use crate::time::Timestamp;
use units::Units;

/// Idle key buckets are swept when a cell has more than this many.
const BUCKETS_SWEPT_ABOVE: usize = 256;

/// What one request would consume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The key.
    pub key: KeyId,
    /// The key's requests per minute.
    pub key_requests_per_minute: NonZeroU32,
    /// The organization's, if it has such a limit.
    pub organization_requests_per_minute: Option<NonZeroU32>,
    /// The quota's terms in force.
    pub terms: Terms,
    /// Units to hold; `None` for a free request.
    pub hold: Option<HoldAsk>,
}

/// The metered part of a charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldAsk {
    /// The receipt's number.
    pub usage: UsageId,
    /// Units, at least one.
    pub units: u32,
    /// After how long the hold lapses.
    pub lifetime: Duration,
    /// The idempotency key that the request runs under. What the request is, its fingerprint, is
    /// known later: a request is admitted before its body is read.
    pub claim: Option<IdempotencyKey>,
}

/// Units held for a request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The receipt's number.
    pub usage: UsageId,
    /// Units held.
    pub units: u32,
}

/// A request that may go on, and what the limits look like after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// The units held, for a metered request.
    pub hold: Option<Hold>,
    /// The limits, for the answer's headers.
    pub limits: LimitsNow,
}

/// The limits at one instant, for the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsNow {
    /// The key's rate limit.
    pub key: LimitState,
    /// The organization's, if it has one.
    pub organization: Option<LimitState>,
    /// The quota, as far as this node knows it.
    pub quota: QuotaState,
}

/// The quota at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaState {
    /// Units included in the period.
    pub included: u64,
    /// Included units not yet used or held; `None` as long as this node was not told.
    pub remaining: Option<u64>,
    /// The period's length, in seconds.
    pub window_secs: u64,
    /// Until the period ends, in seconds.
    pub reset_secs: u64,
}

/// Why a cell does not admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdmitted {
    /// A limit was hit; nothing was consumed.
    Denied(Denial, Option<LimitsNow>),
    /// The cell has to ask the authority first; nothing was consumed.
    NeedsLease(LeaseAsk),
}

/// What became of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldEnd {
    /// Its units are used from now on.
    Used {
        /// The number of the lease that they were settled under, unless that had lapsed.
        lease: Option<u64>,
    },
    /// Its units are used since an earlier try to settle it.
    UsedBefore,
    /// Its units go back.
    Returned,
}

/// The state itself; see the module's header.
#[derive(Debug, Default)]
pub struct Cell {
    buckets: HashMap<KeyId, Bucket>,
    organization: Bucket,
    units: Units,
    held: u64,
    holds: HashMap<UsageId, Held>,
    in_flight: HashMap<IdempotencyKey, UsageId>,
    next_lapse: Option<Timestamp>,
}

#[derive(Debug)]
struct Held {
    units: u32,
    expires: Timestamp,
    claim: Option<IdempotencyKey>,
}

impl Charge {
    /// The key's rate limit.
    #[must_use]
    pub fn key_limit(&self) -> Limit {
        Limit::per_minute(self.key_requests_per_minute.get())
    }

    /// The organization's, if it has one.
    #[must_use]
    pub fn organization_limit(&self) -> Option<Limit> {
        self.organization_requests_per_minute.map(|requests| Limit::per_minute(requests.get()))
    }
}

impl Cell {
    /// Takes a request's share of every limit, or of none.
    ///
    /// # Errors
    /// [`NotAdmitted`]: denied, or the authority has to be asked; nothing was consumed.
    pub fn admit(&mut self, charge: &Charge, now: Timestamp) -> Result<Admitted, NotAdmitted> {
        self.lapse(now);
        let key_limit = charge.key_limit();
        let key_before = self.buckets.get(&charge.key).copied().unwrap_or_default();
        let key = key_before.check(key_limit, now).map_err(|wait| {
            self.limited(LimitScope::Key, wait.0, charge, key_limit, key_before, now)
        })?;
        let organization = self.check_organization(charge, key_limit, key_before, now)?;
        if let Some(ask) = &charge.hold {
            self.check_in_flight(ask)?;
            self.check_units(ask, charge, now)?;
        }
        self.sweep_buckets(now);
        self.buckets.insert(charge.key, key);
        self.organization = organization;
        if charge.hold.is_none() {
            self.free(charge.terms, now);
        }
        let hold = charge.hold.as_ref().map(|ask| self.hold(ask, now));
        Ok(Admitted { hold, limits: self.limits(charge, key_limit, key, now) })
    }

    /// Keeps a hold from lapsing while its settlement is under way.
    pub fn settling(&mut self, usage: UsageId, until: Timestamp) {
        if let Some(held) = self.holds.get_mut(&usage) {
            held.expires = held.expires.max(until);
        }
    }

    /// Ends a hold. An idempotency key stays in flight until [`Cell::finish`].
    pub fn end(&mut self, hold: &Hold, end: HoldEnd) {
        let held = self.holds.remove(&hold.usage);
        if let Some(held) = &held {
            self.held -= u64::from(held.units);
        }
        match (held, end) {
            (Some(held), HoldEnd::Used { lease }) => self.used_held(held.units, lease),
            (Some(held), HoldEnd::UsedBefore) => self.used_held(held.units, None),
            (Some(held), HoldEnd::Returned) => self.give_back(held.units),
            // It had lapsed: its units went back then, and the authority found others for it.
            (None, HoldEnd::Used { lease }) => self.used_lapsed(hold.units, lease),
            // It ended at the earlier try; or it had lapsed before, and only the authority knows.
            (None, HoldEnd::UsedBefore) => self.mark_stale(),
            (None, HoldEnd::Returned) => {}
        }
    }

    /// An idempotency key is no longer in flight: its answer is kept, or it was freed.
    pub fn finish(&mut self, key: &IdempotencyKey, usage: UsageId) {
        if self.in_flight.get(key) == Some(&usage) {
            self.in_flight.remove(key);
        }
    }

    /// Whether nothing is left that would be missed: the cell may be dropped.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.holds.is_empty()
            && self.in_flight.is_empty()
            && self.organization.is_full(now)
            && self.buckets.values().all(|bucket| bucket.is_full(now))
    }

    fn limited(
        &self,
        scope: LimitScope,
        wait: Duration,
        charge: &Charge,
        key_limit: Limit,
        key: Bucket,
        now: Timestamp,
    ) -> NotAdmitted {
        let limits = self.limits(charge, key_limit, key, now);
        NotAdmitted::Denied(Denial::RateLimited { scope, wait }, Some(limits))
    }

    fn check_organization(
        &self,
        charge: &Charge,
        key_limit: Limit,
        key: Bucket,
        now: Timestamp,
    ) -> Result<Bucket, NotAdmitted> {
        let Some(limit) = charge.organization_limit() else {
            return Ok(self.organization);
        };
        self.organization.check(limit, now).map_err(|wait| {
            self.limited(LimitScope::Organization, wait.0, charge, key_limit, key, now)
        })
    }

    fn check_in_flight(&self, ask: &HoldAsk) -> Result<(), NotAdmitted> {
        let holder = ask.claim.as_ref().and_then(|key| self.in_flight.get(key));
        let denied =
            |usage: &UsageId| Err(NotAdmitted::Denied(Denial::IdempotencyInFlight(*usage), None));
        holder.map_or(Ok(()), denied)
    }

    fn hold(&mut self, ask: &HoldAsk, now: Timestamp) -> Hold {
        let expires = now.plus(ask.lifetime);
        self.take(ask.units);
        self.held += u64::from(ask.units);
        if let Some(key) = ask.claim {
            self.in_flight.insert(key, ask.usage);
        }
        self.holds.insert(ask.usage, Held { units: ask.units, expires, claim: ask.claim });
        self.next_lapse = Some(self.next_lapse.map_or(expires, |next| next.min(expires)));
        Hold { usage: ask.usage, units: ask.units }
    }

    /// Holds whose owner vanished go back.
    fn lapse(&mut self, now: Timestamp) {
        if self.next_lapse.is_none_or(|next| now < next) {
            return;
        }
        let lapsed: Vec<_> = self
            .holds
            .iter()
            .filter(|(_, held)| held.expires <= now)
            .map(|(usage, held)| (Hold { usage: *usage, units: held.units }, held.claim))
            .collect();
        for (hold, claim) in lapsed {
            self.end(&hold, HoldEnd::Returned);
            if let Some(key) = claim {
                self.in_flight.remove(&key);
            }
        }
        self.next_lapse = self.holds.values().map(|held| held.expires).min();
    }

    fn sweep_buckets(&mut self, now: Timestamp) {
        if self.buckets.len() > BUCKETS_SWEPT_ABOVE && self.buckets.len().is_power_of_two() {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
    }

    fn limits(&self, charge: &Charge, key_limit: Limit, key: Bucket, now: Timestamp) -> LimitsNow {
        let organization =
            charge.organization_limit().map(|limit| self.organization.state(limit, now));
        let quota = self.quota(&charge.terms, now);
        LimitsNow { key: key.state(key_limit, now), organization, quota }
    }
}
