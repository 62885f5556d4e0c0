//! The directory in a Supabase project, by its REST API: organizations, keys, Stripe's events.
//!
//! A change and its audit row commit together. The row waits in the project's outbox until it was
//! appended to the audit chain, which is in the organization's object.

use std::ops::Deref;

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::stripe::file::BillingCommit;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Alerts, Directory, EventInbox, HandedOver, HandoverAsk};
use driftlock_supabase::{SupabaseStore, check};

use crate::http_client::EdgeHttp;
use crate::objects::Objects;

/// Rows shipped in one call.
const SHIPPED_MAX: usize = 100;
/// Calls of one run; the rest waits for the next run.
const PORTIONS_MAX: usize = 10;
/// Organizations whose outbox rows one cron run ships.
const ORGANIZATIONS_MAX: usize = 100;

/// The project's functions, and the objects that its audit rows are sent to.
#[derive(Clone)]
pub(crate) struct SupabaseDirectory {
    store: SupabaseStore<EdgeHttp>,
    objects: Objects,
}

/// Reads, and writes without an audit row.
impl Deref for SupabaseDirectory {
    type Target = SupabaseStore<EdgeHttp>;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

impl SupabaseDirectory {
    pub(crate) const fn new(store: SupabaseStore<EdgeHttp>, objects: Objects) -> Self {
        Self { store, objects }
    }

    /// Checks that the project's schema is up to date.
    pub(crate) async fn prepare(&self) -> Result<(), Fault> {
        check(&self.store).await
    }

    pub(crate) async fn create_organization(
        &self,
        organization: &Organization,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        self.store.create_organization(organization, audit).await?;
        self.ship(organization.id).await;
        Ok(())
    }

    pub(crate) async fn patch_organization(
        &self,
        id: OrganizationId,
        patch: OrganizationPatch,
        audit: AuditRecord,
    ) -> Result<Option<Organization>, Fault> {
        let changed = self.store.patch_organization(id, patch, audit).await?;
        self.ship(id).await;
        Ok(changed)
    }

    pub(crate) async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        self.store.create_key(key, hash, audit).await?;
        self.ship(key.organization).await;
        Ok(())
    }

    pub(crate) async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        self.in_force(self.store.revoke_key(id, at, audit).await?).await
    }

    pub(crate) async fn rotate_key(
        &self,
        id: KeyId,
        successor: &KeyRecord,
        hash: &KeyHash,
        revoke_at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        let key = self.store.rotate_key(id, successor, hash, revoke_at, audit).await?;
        if let Some(key) = &key {
            // The successor's secret is returned only once, so a failure here must not withhold it.
            self.ship(key.organization).await;
        }
        Ok(key)
    }

    pub(crate) async fn hand_over(&self, ask: HandoverAsk) -> Result<HandedOver, Fault> {
        let organization = ask.organization;
        let handed = self.store.hand_over(ask).await?;
        self.ship(organization).await;
        Ok(handed)
    }

    pub(crate) async fn commit(&self, commit: BillingCommit) -> Result<bool, Fault> {
        let organization = commit.organization;
        let committed = self.store.commit(commit).await?;
        self.ship(organization).await;
        Ok(committed)
    }

    pub(crate) async fn raise(&self, alert: &Alert) -> Result<(), Fault> {
        self.store.raise(alert.clone()).await
    }

    pub(crate) async fn ship_all(&self) -> Result<(), Fault> {
        for organization in self.store.outbox_organizations(ORGANIZATIONS_MAX).await? {
            self.ship(organization).await;
        }
        Ok(())
    }

    /// A revocation is in force once the organization's object has its audit row, so the caller is
    /// answered only after that.
    async fn in_force(&self, key: Option<KeyRecord>) -> Result<Option<KeyRecord>, Fault> {
        if let Some(key) = &key {
            self.try_ship(key.organization).await?;
        }
        Ok(key)
    }

    /// Appends outbox rows to the organization's audit chain. After a failure they stay in the
    /// outbox and are sent with the next rows.
    async fn ship(&self, organization: OrganizationId) {
        if let Err(fault) = self.try_ship(organization).await {
            tracing::error!(%organization, error = fault.cause, "could not ship audit rows");
        }
    }

    async fn try_ship(&self, organization: OrganizationId) -> Result<(), Fault> {
        for _ in 0..PORTIONS_MAX {
            let waiting = self.store.outbox(organization, SHIPPED_MAX).await?;
            let Some((last, _)) = waiting.last() else { return Ok(()) };
            let (last, is_all) = (*last, waiting.len() < SHIPPED_MAX);
            self.objects.append_once(organization, waiting).await?;
            self.store.outbox_shipped(organization, last).await?;
            if is_all {
                return Ok(());
            }
        }
        Err(Fault::store("the audit outbox has more rows than one run ships"))
    }
}
