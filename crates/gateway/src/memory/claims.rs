//! Claims of idempotency keys by requests in progress.

use std::collections::HashMap;

use driftlock_domain::id::UsageId;
use driftlock_domain::idempotency::{Claim, Claimed, Fingerprint, IdempotencyKey};
use driftlock_domain::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<IdempotencyKey, Holder>);

#[derive(Debug)]
struct Holder {
    usage: UsageId,
    fingerprint: Fingerprint,
    until: Timestamp,
}

impl Claims {
    /// Claims a key that has no stored record.
    pub(super) fn claim(
        &mut self,
        claim: &Claim,
        usage: UsageId,
        until: Timestamp,
        now: Timestamp,
    ) -> Claimed {
        match self.0.get(&claim.key) {
            Some(held) if held.until > now && held.usage != usage => {
                Claimed::InFlight(held.usage, held.fingerprint)
            }
            _ => {
                let holder = Holder { usage, fingerprint: claim.fingerprint, until };
                self.0.insert(claim.key, holder);
                Claimed::Own
            }
        }
    }

    /// Ends this request's claim.
    pub(super) fn end(&mut self, key: &IdempotencyKey, usage: UsageId) {
        if self.0.get(key).is_some_and(|held| held.usage == usage) {
            self.0.remove(key);
        }
    }

    /// Drops expired claims.
    pub(super) fn purge(&mut self, now: Timestamp) {
        self.0.retain(|_, held| held.until > now);
    }
}
