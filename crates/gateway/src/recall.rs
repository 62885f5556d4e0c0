//! Facts from memory, else from the directory.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use driftlock_domain::id::OrganizationId;
use driftlock_domain::key::KeyHash;
use driftlock_domain::organization::Organization;
use driftlock_domain::time::Timestamp;

use crate::facts::{Facts, Lookup};
use crate::gateway::Gateway;
use crate::keys::KeyFacts;
use crate::ports::{Directory, Platform, Refusal};

impl<P: Platform> Gateway<P> {
    /// A key by its hash; where the directory reads its organization along, that is remembered, too. An
    /// address with too many failures gets no look-up, unless the key was good a moment ago: then it
    /// is read again, so that others' failures from behind one address do not age it away.
    pub(crate) async fn recall_key(
        &self,
        hash: KeyHash,
        ip: IpAddr,
        now: Timestamp,
    ) -> Result<Option<Arc<KeyFacts>>, Refusal> {
        recall(&self.shared.keys, hash, now, async || {
            if !self.shared.keys.is_present(&hash) {
                self.shared.shield.look(ip, now)?;
            }
            let organizations = &self.shared.organizations;
            let noted = organizations.forgotten();
            let Some((record, owner)) = self.directory.key_with_owner(&hash).await? else {
                return Ok(None);
            };
            if let Some(owner) = owner {
                organizations.fill_unless_forgotten(owner.id, Arc::new(owner), noted, now);
            }
            Ok(Some(Arc::new(KeyFacts::new(record))))
        })
        .await
    }

    /// An organization.
    pub(crate) async fn recall_organization(
        &self,
        id: OrganizationId,
        now: Timestamp,
    ) -> Result<Option<Arc<Organization>>, Refusal> {
        recall(&self.shared.organizations, id, now, async || {
            Ok(self.directory.organization(id).await?.map(Arc::new))
        })
        .await
    }
}

async fn recall<K: Hash + Eq + Copy, V: Clone>(
    facts: &Facts<K, V>,
    key: K,
    now: Timestamp,
    read: impl AsyncFnOnce() -> Result<Option<V>, Refusal>,
) -> Result<Option<V>, Refusal> {
    match facts.get(&key, now) {
        Lookup::Known(value) => Ok(value),
        Lookup::Missing(epoch) => {
            let value = Box::pin(read()).await?;
            facts.fill(key, value.clone(), epoch, now);
            Ok(value)
        }
        Lookup::Aged(old, epoch) => match Box::pin(read()).await {
            Ok(value) => {
                facts.fill(key, value.clone(), epoch, now);
                Ok(value)
            }
            Err(Refusal::Fault(fault)) => {
                tracing::warn!(
                    cause = fault.cause,
                    "the store is away: serving what is remembered"
                );
                Ok(old)
            }
            Err(Refusal::Denied(..)) => Ok(old),
        },
    }
}
