//! Rate limits that the nodes of a fleet share: what a request takes of them, and what the answer
//! means.
//!
//! The fleet's store holds the buckets of `limit.rs` and decides by its rule, over both limits at
//! once and by its own clock. A bucket therefore crosses as how far its arrival time lies ahead of
//! the store's now, which is the same on every clock; states and waits are worked out here, so that
//! headers say the same whoever counted.

use std::time::Duration;

use crate::cell::{Charge, LimitsNow, QuotaState};
use crate::denial::{Denial, LimitScope};
use crate::id::KeyId;
use crate::limit::{Bucket, Limit};
use crate::time::Timestamp;

/// A request's share of the fleet's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The key.
    pub key: KeyId,
    /// The key's limit.
    pub key_limit: Limit,
    /// The organization's, if it has one.
    pub organization_limit: Option<Limit>,
}

/// What the fleet's store did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It took the share of every limit.
    Taken,
    /// The key's limit is used up: it took nothing.
    KeyUsedUp,
    /// The organization's limit is used up: it took nothing.
    OrganizationUsedUp,
}

/// What the fleet's store did, and how its buckets stand afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetAnswer {
    /// Taken, or not.
    pub verdict: Verdict,
    /// How far the key's arrival time lies ahead.
    pub key_ahead: Duration,
    /// How far the organization's does; zero without such a limit.
    pub organization_ahead: Duration,
}

impl Share {
    /// What a charge takes of the rate limits.
    #[must_use]
    pub fn of(charge: &Charge) -> Self {
        Self {
            key: charge.key,
            key_limit: charge.key_limit(),
            organization_limit: charge.organization_limit(),
        }
    }
}

impl FleetAnswer {
    /// The limits as the fleet counts them, beside a quota.
    #[must_use]
    pub fn limits(&self, share: &Share, quota: QuotaState) -> LimitsNow {
        let state = |ahead, limit| Bucket::ahead(ahead, ANY).state(limit, ANY);
        LimitsNow {
            key: state(self.key_ahead, share.key_limit),
            organization: share
                .organization_limit
                .map(|limit| state(self.organization_ahead, limit)),
            quota,
        }
    }

    /// Why the request is denied, if it is.
    #[must_use]
    pub fn denial(&self, share: &Share) -> Option<Denial> {
        let (scope, ahead, limit) = match self.verdict {
            Verdict::Taken => return None,
            Verdict::KeyUsedUp => (LimitScope::Key, self.key_ahead, share.key_limit),
            Verdict::OrganizationUsedUp => {
                let limit = share.organization_limit.unwrap_or(share.key_limit);
                (LimitScope::Organization, self.organization_ahead, limit)
            }
        };
        let wait = Bucket::ahead(ahead, ANY).check(limit, ANY).err();
        Some(Denial::RateLimited { scope, wait: wait.map_or(Duration::ZERO, |wait| wait.0) })
    }
}

/// Only what lies between instants counts here.
const ANY: Timestamp = Timestamp::from_secs(0);
