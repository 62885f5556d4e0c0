//! All live state of one organization on one node: rate buckets, the lease, holds, idempotency
//! keys in progress.
//!
//! Admission is all or nothing: every limit is checked before anything is taken, so a denial
//! consumes nothing. A hold is plain data; the caller ends it by settling or releasing it, and
//! otherwise it lapses. `lease.rs` decides how many units a node gets, and `cell/units.rs` keeps
//! what the cell knows of them. At the edge the cell lives in the Durable Object; a native node
//! keeps it behind a lock that is held only briefly.

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

/// Full key buckets are removed when a cell has more buckets than this.
const BUCKETS_SWEPT_ABOVE: usize = 256;

/// What one request would consume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The key.
    pub key: KeyId,
    /// The key's requests per minute.
    pub key_requests_per_minute: NonZeroU32,
    /// The organization's requests per minute, if they are limited.
    pub organization_requests_per_minute: Option<NonZeroU32>,
    /// The quota's terms in force.
    pub terms: Terms,
    /// The units to hold; `None` for a free request.
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
    /// The request's idempotency key. The request's fingerprint is computed later, since a request
    /// is admitted before its body is read.
    pub claim: Option<IdempotencyKey>,
}

/// Units held for a request in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The receipt's number.
    pub usage: UsageId,
    /// Units held.
    pub units: u32,
}

/// An admitted request, and the state of the limits after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// The units held, for a metered request.
    pub hold: Option<Hold>,
    /// The limits, for the response's headers.
    pub limits: LimitsNow,
}

/// The limits at one instant, for the response's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsNow {
    /// The key's rate limit.
    pub key: LimitState,
    /// The organization's rate limit, if it has one.
    pub organization: Option<LimitState>,
    /// The quota, as far as this node knows it.
    pub quota: QuotaState,
}

/// The quota at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaState {
    /// Units included in the period.
    pub included: u64,
    /// Included units not yet used or held; `None` as long as this node does not know.
    pub remaining: Option<u64>,
    /// The period's length, in seconds.
    pub window_secs: u64,
    /// The time until the period ends, in seconds.
    pub reset_secs: u64,
}

/// Why a cell does not admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdmitted {
    /// A limit was hit; nothing was consumed.
    Denied(Denial, Option<LimitsNow>),
    /// The cell has to ask the grantor first; nothing was consumed.
    NeedsLease(LeaseAsk),
}

/// How a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldEnd {
    /// It was settled now: its units are used.
    Used {
        /// The number of the lease that they were settled under, unless that had lapsed.
        lease: Option<u64>,
    },
    /// An earlier attempt to settle it had succeeded already.
    UsedBefore,
    /// It was released: its units are free again.
    Returned,
}

/// The live state of one organization on one node; see the module's header.
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

    /// The organization's rate limit, if it has one.
    #[must_use]
    pub fn organization_limit(&self) -> Option<Limit> {
        self.organization_requests_per_minute.map(|requests| Limit::per_minute(requests.get()))
    }
}

impl Cell {
    /// Takes what a request needs from every limit, or from none.
    ///
    /// # Errors
    /// [`NotAdmitted`]: denied, or the grantor has to be asked; nothing was consumed.
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

    /// Keeps a hold from lapsing before `until`, while its settlement is in progress.
    pub fn settling(&mut self, usage: UsageId, until: Timestamp) {
        if let Some(held) = self.holds.get_mut(&usage) {
            held.expires = held.expires.max(until);
        }
    }

    /// Ends a hold. Its idempotency key stays in progress until [`Cell::finish`].
    pub fn end(&mut self, hold: &Hold, end: HoldEnd) {
        let held = self.holds.remove(&hold.usage);
        if let Some(held) = &held {
            self.held -= u64::from(held.units);
        }
        match (held, end) {
            (Some(held), HoldEnd::Used { lease }) => self.used_held(held.units, lease),
            (Some(held), HoldEnd::UsedBefore) => self.used_held(held.units, None),
            (Some(held), HoldEnd::Returned) => self.give_back(held.units),
            // The hold had lapsed and its units were freed; the grantor took other units for it.
            (None, HoldEnd::Used { lease }) => self.used_lapsed(hold.units, lease),
            // The earlier attempt ended the hold, or the hold had lapsed before that attempt: the
            // cell cannot tell which, and only the grantor knows the numbers.
            (None, HoldEnd::UsedBefore) => self.mark_stale(),
            (None, HoldEnd::Returned) => {}
        }
    }

    /// Ends the progress of an idempotency key: its answer is stored, or the key was freed.
    pub fn finish(&mut self, key: &IdempotencyKey, usage: UsageId) {
        if self.in_flight.get(key) == Some(&usage) {
            self.in_flight.remove(key);
        }
    }

    /// Whether the cell may be dropped: no hold, no idempotency key in progress, all buckets full.
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

    /// Frees the units of expired holds, which were neither settled nor released.
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
