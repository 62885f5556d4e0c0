//! The ports of the gateway: small traits that stores and hosts implement. Each method is one
//! atomic domain operation; no method hands out a transaction.
//!
//! Futures need not be `Send`: on the native server each core runs its own event loop, at the edge
//! there is one thread. [`Platform`] bundles the adapters, so that the gateway has one type
//! parameter.
#![expect(
    async_fn_in_trait,
    reason = "the traits are used generically inside this workspace, and need no Send futures"
)]

mod fleet;
mod handover;
mod inbox;
mod reports;

pub use fleet::FleetLimits;
pub use handover::{HandedOver, HandoverAsk};
pub use inbox::EventInbox;
pub use reports::{Alerts, ReportPage, UsageReports};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::audit::{AuditEntry, AuditHead, AuditRecord};
use driftlock_domain::cell::{Admitted, Charge, Hold, LimitsNow};
use driftlock_domain::denial::{Denial, Fault};
use driftlock_domain::id::{KeyId, NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::{Claim, Claimed, IdempotencyKey, Kept};
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant};
use driftlock_domain::ledger_host::LedgerKind;
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::period::Period;
use driftlock_domain::receipt::Receipt;
use driftlock_domain::route::Route;
use driftlock_domain::time::Timestamp;
use driftlock_domain::trusted_time::ClockStatus;
use driftlock_domain::usage::{Grouping, Settled, Settlement, UsageSummary};
use futures_util::Stream;

use crate::buffers::Buffers;

/// A request for a page of a list: rows after the cursor, in order of id (oldest first).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<Id> {
    /// The id of the last row of the page before.
    pub after: Option<Id>,
    /// How many rows, 1 to 1,000.
    pub limit: usize,
}

/// Organizations and keys. A change and its audit row are one commit.
pub trait Directory {
    /// The key with this hash, also when it is revoked or expired.
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, Fault>;
    /// Like [`Self::key_by_hash`], with the key's organization if the store can read it in the same
    /// call.
    async fn key_with_owner(
        &self,
        hash: &KeyHash,
    ) -> Result<Option<(KeyRecord, Option<Organization>)>, Fault> {
        Ok(self.key_by_hash(hash).await?.map(|key| (key, None)))
    }
    /// The key with this id.
    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault>;
    /// An organization.
    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, Fault>;
    /// A page of organizations.
    async fn organizations(&self, page: Page<OrganizationId>) -> Result<Vec<Organization>, Fault>;
    /// Creates an organization; `FaultKind::Conflict` when the id exists.
    async fn create_organization(
        &self,
        organization: &Organization,
        audit: AuditRecord,
    ) -> Result<(), Fault>;
    /// Changes an organization; `None` when it does not exist.
    async fn patch_organization(
        &self,
        id: OrganizationId,
        patch: OrganizationPatch,
        audit: AuditRecord,
    ) -> Result<Option<Organization>, Fault>;
    /// A page of an organization's keys.
    async fn keys(
        &self,
        organization: OrganizationId,
        page: Page<KeyId>,
    ) -> Result<Vec<KeyRecord>, Fault>;
    /// Creates a key; `FaultKind::Conflict` when the id or the hash exists.
    async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        audit: AuditRecord,
    ) -> Result<(), Fault>;
    /// Revokes a key at an instant; if it has one already, the earlier one wins. `None` when the
    /// key does not exist.
    async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault>;
    /// Creates `successor` and revokes `id` at `revoke_at`, in one commit; `None` when the key `id`
    /// does not exist.
    async fn rotate_key(
        &self,
        id: KeyId,
        successor: &KeyRecord,
        hash: &KeyHash,
        revoke_at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault>;
    /// Stores when keys were last used; times before the stored ones change nothing.
    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<(), Fault>;

    /// Checks that the store takes writes, or at least that it answers if writing cannot be
    /// checked.
    async fn ready(&self) -> Result<(), Fault> {
        self.organization(OrganizationId::from_bytes([0; 16])).await.map(drop)
    }

    /// Hands an organization over to another kind of ledger host: from the end of the billing
    /// period, or at once if that splits no period; see [`driftlock_domain::ledger_host`]. The
    /// default is for a store that supports only one kind.
    async fn hand_over(&self, _handover: HandoverAsk) -> Result<HandedOver, Fault> {
        Ok(HandedOver::OneKind)
    }
}

/// Why a request was not admitted.
#[derive(Debug)]
pub enum Refusal {
    /// The caller's error, with the current limits if they are known.
    Denied(Denial, Option<LimitsNow>),
    /// The gateway's error.
    Fault(Fault),
}

/// Admission of requests by rate limits and quota.
pub trait Admission {
    /// Takes a request's share of every limit, or of none of them.
    async fn admit(
        &self,
        organization: OrganizationId,
        charge: &Charge,
    ) -> Result<Admitted, Refusal>;
    /// Stores the charge for a hold durably. An `Err` means that the settlement is not in the
    /// ledger, or that it will be voided.
    async fn settle(&self, settlement: Settlement) -> Result<Settled, Fault>;
    /// Gives a hold back. It does not wait: at the edge the message is sent in the background.
    fn release(&self, organization: OrganizationId, hold: Hold, claim: Option<IdempotencyKey>);
    /// Ends the claim of an idempotency key: its request is no longer in progress.
    fn finish(&self, organization: OrganizationId, key: IdempotencyKey, usage: UsageId);
    /// Renews leases, gives unused ones back, and voids settlements whose outcome stayed unknown.
    async fn tend(&self) -> Result<(), Fault>;
    /// How many settlements of unknown outcome are not voided yet.
    fn voids_pending(&self) -> usize {
        0
    }
    /// How many settlements since the start stay charged although their clients got an error.
    fn unvoided(&self) -> u64 {
        0
    }
    /// The node that holds the leases.
    fn node(&self) -> NodeId;
    /// A new receipt number. Receipts are looked up by the number alone. So at the edge, where each
    /// organization has a separate object, the number contains the organization.
    fn usage_id(&self, _organization: OrganizationId, at: Timestamp, entropy: [u8; 10]) -> UsageId {
        UsageId::make(at, entropy)
    }
}

/// The durable record of settlements, as admission writes it.
pub trait Ledger {
    /// Renews, extends or gives back a node's lease.
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault>;
    /// Stores usage, audit row, idempotency record and outbox row in one commit. A usage id that
    /// is already in the ledger is `Repeated` and changes nothing. A usage id that was voided, or
    /// an idempotency key that belongs to another usage id, is `Refused`.
    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault>;
    /// Undoes a settlement whose outcome was unknown. If the ledger does not have it, it may still
    /// arrive: so its usage id is refused until a day after the id was made. `FaultKind::Conflict`
    /// means that the settlement can never be undone, since Stripe may have been sent its usage.
    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault>;
}

/// Usage, receipts and idempotency records. This trait is separate from [`Ledger`], since at the
/// edge only an organization's Durable Object settles, while every isolate looks usage up.
pub trait UsageRecords {
    /// The usage of the period that contains `at`. If several do: the period `in_force` if anything
    /// was ever leased in it, otherwise the most recently learned period that has usage. `None`
    /// when there is none.
    async fn usage(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        in_force: Period,
        grouping: Grouping,
    ) -> Result<Option<UsageSummary>, Fault>;
    /// A receipt.
    async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault>;
    /// The record of an idempotency key, unless it is older than 24 hours. A settlement without a
    /// stored answer has a record without one.
    async fn kept(
        &self,
        organization: OrganizationId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Kept>, Fault>;
    /// Claims a key for `usage` before its request begins, for at most `lifetime`. So processes
    /// that share a store do not run two requests under one key. Within one node the cell ensures
    /// that, so a store of one node needs only the default.
    async fn claim(
        &self,
        organization: OrganizationId,
        claim: &Claim,
        _usage: UsageId,
        _lifetime: Duration,
        now: Timestamp,
    ) -> Result<Claimed, Fault> {
        self.kept(organization, &claim.key, now).await.map(Claimed::from)
    }
    /// Ends a claim whose request was not settled.
    async fn unclaim(
        &self,
        _organization: OrganizationId,
        _key: &IdempotencyKey,
        _usage: UsageId,
    ) -> Result<(), Fault> {
        Ok(())
    }
    /// Deletes a portion of the expired rows: idempotency records older than 24 hours, and whatever
    /// else the store purges. Returns how many rows were deleted; 0 means that none are left.
    async fn purge_kept(&self, now: Timestamp) -> Result<u64, Fault>;
}

/// The audit log: one hash chain for each organization.
pub trait AuditLog {
    /// Appends records in order.
    async fn append(&self, records: Vec<(OrganizationId, AuditRecord)>) -> Result<(), Fault>;
    /// Entries with a number above `after`, in order; at most `limit`.
    async fn entries(
        &self,
        organization: OrganizationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Fault>;
    /// The last entry of the chain.
    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault>;
    /// The last entry that [`Self::prune`] removed: the kept part of the chain begins after it.
    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault>;
    /// Removes a portion of the oldest entries from before `before` and stores the new checkpoint
    /// in the same commit. A portion spans at least a day and has at most some thousand entries.
    /// Returns how many entries were removed.
    async fn prune(
        &self,
        organization: OrganizationId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Fault>;
}

/// How a response body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// The last byte was sent.
    Complete,
    /// The backend or the client closed the connection before the end.
    Truncated,
}

/// A response body that was read up to a bound.
#[derive(Debug)]
pub enum Collected<B> {
    /// The whole body.
    Whole(Bytes),
    /// The body is too large or too slow, or the buffers are full. This body yields the bytes that
    /// were read, and then the rest.
    Unfinished(B),
    /// The body broke off, for this reason.
    Broken(String),
}

/// The HTTP client for the backend.
pub trait Upstream: 'static {
    /// The type of request bodies.
    type RequestBody: 'static;
    /// The type of response bodies.
    type ResponseBody: 'static;

    /// Sends a request and waits for the response's head. The host writes the framing of the
    /// request body itself, whatever the headers say.
    async fn send(
        &self,
        request: http::Request<Self::RequestBody>,
        route: &Route,
    ) -> Result<http::Response<Self::ResponseBody>, SendError>;
    /// Reads a client's body of at most `max` bytes. The bytes keep their share of `buffers` until
    /// they are dropped.
    async fn collect(
        &self,
        body: Self::RequestBody,
        max: u64,
        buffers: &Arc<Buffers>,
    ) -> Result<Bytes, Refusal>;
    /// A request body of these bytes.
    fn request_body(bytes: Bytes) -> Self::RequestBody;
    /// A client's body that fails once it has more than `max` bytes.
    fn limited(body: Self::RequestBody, max: u64) -> Self::RequestBody;
    /// A response body of these bytes.
    fn response_body(bytes: Bytes) -> Self::ResponseBody;
    /// A response body that is produced while it is read; a fault ends it early.
    fn stream_body(parts: impl Stream<Item = Result<Bytes, Fault>> + 'static)
    -> Self::ResponseBody;
    /// Reads a backend's body of at most `max` bytes, for at most `within`, while `buffers` have
    /// room for it twice: the body is both stored with the settlement and sent to the client.
    async fn collect_answer(
        &self,
        body: Self::ResponseBody,
        max: usize,
        within: Duration,
        buffers: &Arc<Buffers>,
    ) -> Collected<Self::ResponseBody>;
    /// Ends an endless body (a stream of events, or a WebSocket in place of a body) as soon as the
    /// future that `until` makes is ready. Other bodies stay unchanged, and `until` is not called.
    fn ended_by<F: Future<Output = ()> + 'static>(
        body: Self::ResponseBody,
        until: impl FnOnce() -> F,
    ) -> Self::ResponseBody;
    /// A body that calls `ended` once when it ends.
    fn watch(body: Self::ResponseBody, ended: Box<dyn FnOnce(BodyEnd)>) -> Self::ResponseBody;
}

/// Why there is no response head.
#[derive(Debug)]
pub enum SendError {
    /// The backend or the gateway failed.
    Fault(Fault),
    /// The client's body was too large, broke off or stalled.
    Denied(Denial),
}

/// Two clocks for two purposes that must not be mixed.
pub trait Clock {
    /// The time for all of the gateway's own decisions and orders. It never goes backwards. It
    /// follows a leap of the wall clock only once the leap is confirmed.
    fn now(&self) -> Timestamp;
    /// The wall clock as it is set now; it may go backwards. Use it only to judge a time that an
    /// outside party states or checks (a signature's `t`, the time of a meter event).
    fn wall(&self) -> Timestamp;
    /// The earlier of both clocks. Use it for work that an outside party checks by its own clock
    /// and that must not happen too early by either clock.
    fn agreed(&self) -> Timestamp {
        self.now().min(self.wall())
    }
    /// The state of the clock: whether its time may be used for work that cannot be undone.
    fn status(&self) -> ClockStatus {
        ClockStatus::STEADY
    }
}

/// A source of unpredictable bytes.
pub trait Entropy {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Runs work that outlives the request that began it.
pub trait Background {
    /// Runs a future to its end, also when the caller is cancelled.
    fn spawn(&self, work: impl Future<Output = ()> + 'static);
    /// Waits for this long.
    async fn wait(&self, time: Duration);
}

/// Ten unpredictable bytes, as an id needs them.
pub fn id_entropy(entropy: &impl Entropy) -> [u8; 10] {
    let mut bytes = [0; 10];
    entropy.fill(&mut bytes);
    bytes
}

/// The HTTP client for other services, that is Stripe's API.
pub trait HttpClient {
    /// Sends a request and reads the answer, within the host's limits of time and size.
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, NoAnswer>;
}

/// Why no answer came. Whether the request had an effect is unknown. The text contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// The adapters that a host uses.
pub trait Platform: 'static {
    /// The kind of ledger host that this host is.
    const LEDGER: LedgerKind;
    /// Organizations and keys.
    type Directory: Directory;
    /// Rate limits and quota.
    type Admission: Admission;
    /// Usage, receipts and idempotency records.
    type Usage: UsageRecords;
    /// The audit log.
    type Audit: AuditLog;
    /// Stripe's events.
    type Inbox: EventInbox;
    /// The outbox of usage for Stripe.
    type Reports: UsageReports;
    /// Alerts for people.
    type Alerts: Alerts;
    /// The HTTP client for Stripe.
    type Http: HttpClient;
    /// The HTTP client for the backend.
    type Upstream: Upstream;
    /// The clock.
    type Clock: Clock;
    /// The source of unpredictable bytes.
    type Entropy: Entropy;
    /// Runs work in the background.
    type Background: Background;
}
