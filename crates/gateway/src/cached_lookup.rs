//! Reads keys and organizations from the cache, and from the directory if they are not cached.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::address::Source;
use driftlock_domain::denial::Denial;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::key::KeyHash;
use driftlock_domain::organization::Organization;
use driftlock_domain::time::Timestamp;
use futures_util::future::{Either, select};

use crate::cache::{Cache, Lookup};
use crate::gateway::{Gateway, Listener};
use crate::keys::CachedKey;
use crate::lookups::{Full, LookupPermit};
use crate::ports::{Background, Directory, Platform, Refusal};
use crate::shield;

/// How long a lookup waits for a permit.
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(2);
/// `Retry-After` of a request whose lookup got no permit.
const LOOKUP_RETRY_AFTER: Duration = Duration::from_secs(1);

impl<P: Platform> Gateway<P> {
    /// A key by its hash. If the directory also returns the key's organization, that is cached too.
    /// For a source that has used up its failures the lookup of an uncached key waits for a permit;
    /// see [`crate::lookups`].
    pub(crate) async fn cached_key(
        &self,
        hash: KeyHash,
        source: Source,
        now: Timestamp,
    ) -> Result<Option<Arc<CachedKey>>, Refusal> {
        cached_lookup(&self.shared.keys, hash, now, async || {
            let shared = &self.shared;
            let must_wait = !shared.keys.is_present(&hash)
                && shared.shields.of(Listener::Public).is_used_up(source, now);
            let _permit = if must_wait { Some(self.lookup_permit(source).await?) } else { None };
            // While this request waited, another one may have looked up the same key.
            if must_wait && let Lookup::Known(found) = shared.keys.get(&hash, now) {
                return Ok(found);
            }
            self.look_up_key(hash, now).await
        })
        .await
    }

    /// Waits for a permit, at most [`LOOKUP_WAIT_MAX`].
    async fn lookup_permit(&self, source: Source) -> Result<LookupPermit, Denial> {
        let too_many = || shield::limited(LOOKUP_RETRY_AFTER);
        let permit = self.shared.lookups.enter(source).map_err(|Full| too_many())?;
        let patience = std::pin::pin!(self.background.wait(LOOKUP_WAIT_MAX));
        match select(std::pin::pin!(permit), patience).await {
            Either::Left((permit, _)) => permit.ok_or_else(too_many),
            Either::Right(((), _)) => Err(too_many()),
        }
    }

    async fn look_up_key(
        &self,
        hash: KeyHash,
        now: Timestamp,
    ) -> Result<Option<Arc<CachedKey>>, Refusal> {
        let organizations = &self.shared.organizations;
        let before = organizations.invalidations();
        let Some((record, owner)) = self.directory.key_with_owner(&hash).await? else {
            return Ok(None);
        };
        if let Some(owner) = owner {
            organizations.fill_unless_invalidated(owner.id, Arc::new(owner), before, now);
        }
        Ok(Some(Arc::new(CachedKey::new(record))))
    }

    /// An organization by its id.
    pub(crate) async fn cached_organization(
        &self,
        id: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<Arc<Organization>>, Refusal> {
        cached_lookup(&self.shared.organizations, id, now, async || {
            Ok(self.directory.organization(id).await?.map(Arc::new))
        })
        .await
    }
}

async fn cached_lookup<K: Hash + Eq + Copy, V: Clone>(
    cache: &Cache<K, V>,
    key: K,
    now: Timestamp,
    read: impl AsyncFnOnce() -> Result<Option<V>, Refusal>,
) -> Result<Option<V>, Refusal> {
    match cache.get(&key, now) {
        Lookup::Known(value) => Ok(value),
        Lookup::Missing(epoch) => {
            let value = Box::pin(read()).await?;
            cache.fill(key, value.clone(), epoch, now);
            Ok(value)
        }
        Lookup::Aged(old, epoch) => match Box::pin(read()).await {
            Ok(value) => {
                cache.fill(key, value.clone(), epoch, now);
                Ok(value)
            }
            Err(Refusal::Fault(fault)) => {
                tracing::warn!(
                    error = fault.cause,
                    "store does not answer: using the cached record"
                );
                Ok(old)
            }
            Err(Refusal::Denied(..)) => Ok(old),
        },
    }
}
