//! Rate limits that the nodes of a fleet share: what a request takes from them, and what the
//! store's answer means.
//!
//! The fleet's store holds the buckets of `limit.rs`, applies the same rule to both limits in one
//! step, and uses its own clock. It therefore reports each bucket as the time by which its arrival
//! time lies ahead of the store's clock: such a difference means the same on every clock. Limit
//! states and waits are computed here, so that fleet and node limits yield the same headers.

use std::time::Duration;

use crate::cell::{Charge, LimitsNow, QuotaState};
use crate::denial::{Denial, LimitScope};
use crate::id::KeyId;
use crate::limit::{Bucket, Limit};
use crate::time::Timestamp;

/// What a request takes from the fleet's limits.
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
    /// It took the request from every limit.
    Taken,
    /// The key's limit is used up: the store took nothing.
    KeyUsedUp,
    /// The organization's limit is used up: the store took nothing.
    OrganizationUsedUp,
}

/// What the fleet's store did, and the state of its buckets afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetAnswer {
    /// Whether the store took the request from the limits.
    pub verdict: Verdict,
    /// How far the arrival time of the key's bucket lies ahead.
    pub key_ahead: Duration,
    /// How far that of the organization's bucket lies ahead; zero without such a limit.
    pub organization_ahead: Duration,
}

impl Share {
    /// What a charge takes from the rate limits.
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
    /// The limits as the fleet counts them, together with this node's quota state.
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

    /// The denial, if the store took nothing.
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

/// Any instant serves as "now", since the store reports differences only.
const ANY: Timestamp = Timestamp::from_secs(0);
