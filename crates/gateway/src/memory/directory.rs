//! Organizations and keys in memory.

use std::ops::Bound;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::time::Timestamp;

use super::{MemoryStore, State};
use crate::ports::{Directory, Page};

impl Directory for MemoryStore {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, Fault> {
        let state = self.state();
        Ok(state.hashes.get(hash).and_then(|id| state.keys.get(id)).cloned())
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        Ok(self.state().keys.get(&id).cloned())
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, Fault> {
        Ok(self.state().organizations.get(&id).cloned())
    }

    async fn organizations(&self, page: Page<OrganizationId>) -> Result<Vec<Organization>, Fault> {
        let state = self.state();
        let rows = state.organizations.range((after(page.after), Bound::Unbounded));
        Ok(rows.take(page.limit).map(|(_, row)| row.clone()).collect())
    }

    async fn create_organization(
        &self,
        organization: &Organization,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        let mut state = self.state();
        if state.organizations.contains_key(&organization.id) {
            return Err(Fault::new(FaultKind::Conflict, "the organization exists"));
        }
        state.customer_is_free(organization)?;
        state.organizations.insert(organization.id, organization.clone());
        state.append(organization.id, audit);
        Ok(())
    }

    async fn patch_organization(
        &self,
        id: OrganizationId,
        patch: OrganizationPatch,
        audit: AuditRecord,
    ) -> Result<Option<Organization>, Fault> {
        let mut state = self.state();
        let Some(mut changed) = state.organizations.get(&id).cloned() else { return Ok(None) };
        patch.apply(&mut changed);
        state.customer_is_free(&changed)?;
        state.organizations.insert(id, changed.clone());
        state.append(id, audit);
        Ok(Some(changed))
    }

    async fn keys(
        &self,
        organization: OrganizationId,
        page: Page<KeyId>,
    ) -> Result<Vec<KeyRecord>, Fault> {
        let state = self.state();
        let rows = state.keys.range((after(page.after), Bound::Unbounded));
        let own = rows.map(|(_, row)| row).filter(|row| row.organization == organization);
        Ok(own.take(page.limit).cloned().collect())
    }

    async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        let mut state = self.state();
        state.insert_key(key, hash)?;
        state.append(key.organization, audit);
        Ok(())
    }

    async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        let mut state = self.state();
        let Some(key) = state.revoke(id, at) else { return Ok(None) };
        state.append(key.organization, audit);
        Ok(Some(key))
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        successor: &KeyRecord,
        hash: &KeyHash,
        revoke_at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        let mut state = self.state();
        if !state.keys.contains_key(&id) {
            return Ok(None);
        }
        state.insert_key(successor, hash)?;
        state.append(successor.organization, audit);
        Ok(state.revoke(id, revoke_at))
    }

    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<(), Fault> {
        let mut state = self.state();
        for (id, at) in used {
            if let Some(key) = state.keys.get_mut(id) {
                key.last_used_at = key.last_used_at.max(Some(*at));
            }
        }
        Ok(())
    }
}

impl State {
    /// Checks that no other organization has the same customer at Stripe.
    fn customer_is_free(&self, wanted: &Organization) -> Result<(), Fault> {
        let taken = self.organizations.values().any(|other| {
            let same = other.stripe_customer_id == wanted.stripe_customer_id;
            other.id != wanted.id && same && wanted.stripe_customer_id.is_some()
        });
        if taken {
            Err(Fault::new(FaultKind::Conflict, "another organization's customer"))
        } else {
            Ok(())
        }
    }

    fn insert_key(&mut self, key: &KeyRecord, hash: &KeyHash) -> Result<(), Fault> {
        if self.keys.contains_key(&key.id) || self.hashes.contains_key(hash) {
            return Err(Fault::new(FaultKind::Conflict, "the key exists"));
        }
        self.keys.insert(key.id, key.clone());
        self.hashes.insert(*hash, key.id);
        Ok(())
    }

    /// Revokes a key; the earlier of two revocations counts.
    fn revoke(&mut self, id: KeyId, at: Timestamp) -> Option<KeyRecord> {
        let key = self.keys.get_mut(&id)?;
        key.revoked_at = Some(key.revoked_at.map_or(at, |earlier| earlier.min(at)));
        Some(key.clone())
    }
}

fn after<Id>(id: Option<Id>) -> Bound<Id> {
    id.map_or(Bound::Unbounded, Bound::Excluded)
}
