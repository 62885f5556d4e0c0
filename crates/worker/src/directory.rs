//! The directory of an environment: a Supabase project if one is configured, otherwise D1. Both
//! store organizations, keys, Stripe's events, and the outbox of audit rows that are not yet in
//! their chains, which are in the organizations' objects.

use std::cell::Cell;
use std::time::Duration;

use driftlock_domain::alert::Alert;
use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{KeyId, OrganizationId, UsageId};
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::receipt::Receipt;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState, InboxEntry};
use driftlock_domain::stripe::file::{
    BillingCommit, CustomerFile, Forgetting, Postponed, UnassignedEvent,
};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{
    Alerts, Clock, Directory, EventInbox, HandedOver, HandoverAsk, Page, UsageRecords,
};

use crate::clock::EdgeClock;
use crate::d1::D1Directory;
use crate::objects::Objects;
use crate::supabase::SupabaseDirectory;
use crate::wire::Ask;

/// Pending voids that one cron run executes, at two subrequests each.
const VOIDS_MAX: usize = 50;
/// After how long a failed void is tried again.
const VOID_RETRY_AFTER: Duration = Duration::from_secs(300);

/// See the module; clones share the same store.
#[derive(Clone)]
pub(crate) enum EdgeDirectory {
    D1(D1Directory),
    Supabase(SupabaseDirectory),
}

thread_local! {
    /// Whether this isolate has checked that the directory's schema is up to date.
    static PREPARED: Cell<bool> = const { Cell::new(false) };
}

/// Prepares the directory, then calls the same method of the configured store.
macro_rules! either {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        $self.prepare().await?;
        match $self {
            Self::D1(store) => store.$method($($argument),*).await,
            Self::Supabase(store) => store.$method($($argument),*).await,
        }
    }};
}

impl EdgeDirectory {
    /// Applies D1's migrations, or checks the version of a Supabase project; once per isolate.
    async fn prepare(&self) -> Result<(), Fault> {
        if !PREPARED.get() {
            match self {
                Self::D1(store) => store.prepare().await?,
                Self::Supabase(store) => store.prepare().await?,
            }
            PREPARED.set(true);
        }
        Ok(())
    }

    /// The organizations, nearly always one, whose receipts end like this one.
    pub(crate) async fn organizations_of(
        &self,
        usage: UsageId,
    ) -> Result<Vec<OrganizationId>, Fault> {
        either!(self.organizations_of(usage))
    }

    /// A receipt that is in the Supabase mirror.
    pub(crate) async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault> {
        match self {
            // With D1 there is no mirror.
            Self::D1(_) => Ok(None),
            Self::Supabase(store) => store.receipt(usage).await,
        }
    }

    /// Organizations that are customers at Stripe.
    pub(crate) async fn customers(
        &self,
        page: Page<OrganizationId>,
    ) -> Result<Vec<OrganizationId>, Fault> {
        either!(self.customers(page))
    }

    /// Stores an alert, unless one of its kind and subject exists.
    pub(crate) async fn raise(&self, alert: &Alert) -> Result<(), Fault> {
        either!(self.raise(alert))
    }

    /// The alerts that the directory keeps of an organization, the newest first.
    pub(crate) async fn alerts(
        &self,
        organization: OrganizationId,
        limit: usize,
    ) -> Result<Vec<Alert>, Fault> {
        either!(self.alerts(organization, limit))
    }

    /// The note of this name, which a job left for its next run.
    pub(crate) async fn note(&self, name: &str) -> Result<Option<String>, Fault> {
        either!(self.note(name))
    }

    pub(crate) async fn set_note(&self, name: &str, value: Option<&str>) -> Result<(), Fault> {
        either!(self.set_note(name, value))
    }

    /// Claims periodic work: true if it was last claimed at least `every` ago. A caller that gets
    /// true does the work.
    pub(crate) async fn claim(
        &self,
        name: &str,
        every: Duration,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        either!(self.claim(name, every, now))
    }

    /// Records a pending void: a settlement of unknown outcome whose client gets an error. The cron
    /// voids it at `at`, unless the request deletes the record before.
    pub(crate) async fn void_at(
        &self,
        organization: OrganizationId,
        usage: UsageId,
        at: Timestamp,
    ) -> Result<(), Fault> {
        either!(self.void_at(organization, usage, at))
    }

    /// Deletes a pending void, because the settlement is voided.
    pub(crate) async fn void_done(&self, usage: UsageId) -> Result<(), Fault> {
        either!(self.void_done(usage))
    }

    /// Executes pending voids that are due. A failed void is tried again until it succeeds.
    pub(crate) async fn void_due(&self, objects: &Objects) -> Result<(), Fault> {
        let now = EdgeClock.now();
        for (organization, usage) in either!(self.voids_due(now, VOIDS_MAX))? {
            match objects.ask::<()>(organization, &Ask::Void(usage)).await {
                Ok(()) => self.void_done(usage).await?,
                Err(fault) if fault.kind == FaultKind::Conflict => {
                    tracing::error!(
                        %organization, %usage, error = fault.cause,
                        "settlement cannot be voided: it stays charged",
                    );
                    self.void_done(usage).await?;
                }
                Err(fault) => {
                    tracing::error!(
                        %organization, %usage, error = fault.cause,
                        "could not void a settlement, will retry",
                    );
                    self.void_at(organization, usage, now.plus(VOID_RETRY_AFTER)).await?;
                }
            }
        }
        Ok(())
    }

    /// Appends the outbox rows of all organizations to their audit chains.
    pub(crate) async fn ship_all(&self) -> Result<(), Fault> {
        either!(self.ship_all())
    }
}

impl Directory for EdgeDirectory {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, Fault> {
        either!(self.key_by_hash(hash))
    }

    async fn key_with_owner(
        &self,
        hash: &KeyHash,
    ) -> Result<Option<(KeyRecord, Option<Organization>)>, Fault> {
        if PREPARED.get() {
            return either!(self.key_with_owner(hash));
        }
        // Read the schema version with the key, so that an isolate's first request needs no extra
        // subrequest.
        match self {
            Self::D1(store) => match store.key_with_owner_and_schema(hash).await {
                Some(found) => {
                    PREPARED.set(true);
                    Ok(Some(found))
                }
                None => either!(self.key_with_owner(hash)),
            },
            // A project with an old schema lacks the function and answers with an error.
            Self::Supabase(store) => store.key_with_owner(hash).await,
        }
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        either!(self.key(id))
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, Fault> {
        either!(self.organization(id))
    }

    async fn organizations(&self, page: Page<OrganizationId>) -> Result<Vec<Organization>, Fault> {
        either!(self.organizations(page))
    }

    async fn create_organization(
        &self,
        organization: &Organization,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        either!(self.create_organization(organization, audit))
    }

    async fn patch_organization(
        &self,
        id: OrganizationId,
        patch: OrganizationPatch,
        audit: AuditRecord,
    ) -> Result<Option<Organization>, Fault> {
        either!(self.patch_organization(id, patch, audit))
    }

    async fn keys(
        &self,
        organization: OrganizationId,
        page: Page<KeyId>,
    ) -> Result<Vec<KeyRecord>, Fault> {
        either!(self.keys(organization, page))
    }

    async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        either!(self.create_key(key, hash, audit))
    }

    async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        either!(self.revoke_key(id, at, audit))
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        successor: &KeyRecord,
        hash: &KeyHash,
        revoke_at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        either!(self.rotate_key(id, successor, hash, revoke_at, audit))
    }

    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<(), Fault> {
        either!(self.touch_keys(used))
    }

    async fn hand_over(&self, ask: HandoverAsk) -> Result<HandedOver, Fault> {
        either!(self.hand_over(ask))
    }
}

impl EventInbox for EdgeDirectory {
    async fn receive(&self, delivery: Delivery) -> Result<bool, Fault> {
        either!(self.receive(delivery))
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        either!(self.due(now, limit))
    }

    async fn unassigned_events(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<UnassignedEvent>, Fault> {
        either!(self.unassigned_events(now, limit))
    }

    async fn assign(&self, event: &str, customer: &str) -> Result<(), Fault> {
        either!(self.assign(event, customer))
    }

    async fn finish(&self, event: &str, now: Timestamp) -> Result<(), Fault> {
        either!(self.finish(event, now))
    }

    async fn postpone_unassigned(&self, event: &str, postponed: Postponed) -> Result<(), Fault> {
        either!(self.postpone_unassigned(event, postponed))
    }

    async fn customer(&self, customer: &str) -> Result<CustomerFile, Fault> {
        either!(self.customer(customer))
    }

    async fn commit(&self, commit: BillingCommit) -> Result<bool, Fault> {
        either!(self.commit(commit))
    }

    async fn postpone(&self, customer: &str, postponed: Postponed) -> Result<(), Fault> {
        either!(self.postpone(customer, postponed))
    }

    async fn events(
        &self,
        state: Option<DeliveryState>,
        page: Page<String>,
    ) -> Result<Vec<InboxEntry>, Fault> {
        either!(self.events(state, page))
    }

    async fn event(&self, event: &str) -> Result<Option<InboxEntry>, Fault> {
        either!(self.event(event))
    }

    async fn replay(&self, event: &str, now: Timestamp) -> Result<Option<InboxEntry>, Fault> {
        either!(self.replay(event, now))
    }

    async fn aged(&self, before: Timestamp, limit: usize) -> Result<Vec<String>, Fault> {
        either!(self.aged(before, limit))
    }

    async fn forget(&self, forgetting: Forgetting) -> Result<u64, Fault> {
        either!(self.forget(forgetting))
    }

    async fn forget_others(&self, before: Timestamp, limit: usize) -> Result<u64, Fault> {
        either!(self.forget_others(before, limit))
    }

    async fn invoices(
        &self,
        organization: OrganizationId,
        page: Page<String>,
    ) -> Result<Vec<InvoiceState>, Fault> {
        either!(self.invoices(organization, page))
    }
}
