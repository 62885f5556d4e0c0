//! What the flow needs of a platform and of a store: small traits, each method one atomic domain
//! operation, never a transaction handed out.
//!
//! Futures need not be `Send`: natively each core runs its own loop, at the edge there is one
//! thread anyway. [`Platform`] bundles the choice of adapters, so that the flow has one type
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

/// A page of a list: rows after the cursor, in order of id (oldest first).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<Id> {
    /// The last row of the page before.
    pub after: Option<Id>,
    /// How many rows, 1 to 1,000.
    pub limit: usize,
}

/// Organizations and keys. Changes commit together with their audit row.
pub trait Directory {
    /// The key of this hash, revoked and expired ones too.
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, Fault>;
    /// The same, and its organization along with it where that costs no other call.
    async fn key_with_owner(
        &self,
        hash: &KeyHash,
    ) -> Result<Option<(KeyRecord, Option<Organization>)>, Fault> {
        Ok(self.key_by_hash(hash).await?.map(|key| (key, None)))
    }
    /// The key of this id.
    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault>;
    /// An organization.
    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, Fault>;
    /// A page of organizations.
    async fn organizations(&self, page: Page<OrganizationId>) -> Result<Vec<Organization>, Fault>;
    /// Makes an organization; `FaultKind::Conflict` when the id exists.
    async fn create_organization(
        &self,
        organization: &Organization,
        audit: AuditRecord,
    ) -> Result<(), Fault>;
    /// Changes an organization; `None` when there is none.
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
    /// Makes a key; `FaultKind::Conflict` when id or hash exists.
    async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        audit: AuditRecord,
    ) -> Result<(), Fault>;
    /// Revokes a key at an instant (the earlier one wins, if it has one); `None` when there is none.
    async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault>;
    /// Makes `successor` and revokes `id` at `revoke_at`, in one commit; `None` when there is no
    /// such key.
    async fn rotate_key(
        &self,
        id: KeyId,
        successor: &KeyRecord,
        hash: &KeyHash,
        revoke_at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault>;
    /// Notes when keys were last used; earlier times than the noted ones change nothing.
    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<(), Fault>;

    /// Whether the store takes writes; where that cannot be told, whether it answers.
    async fn ready(&self) -> Result<(), Fault> {
        self.organization(OrganizationId::from_bytes([0; 16])).await.map(drop)
    }

    /// Has another kind of ledger count an organization's units from the end of the period on, or at
    /// once where that splits no period; see [`driftlock_domain::ledger_host`]. A store that knows one
    /// kind only hands nothing over.
    async fn hand_over(&self, _handover: HandoverAsk) -> Result<HandedOver, Fault> {
        Ok(HandedOver::OneKind)
    }
}

/// Why a request was not admitted.
#[derive(Debug)]
pub enum Refusal {
    /// The caller's doing; with the limits as they are, where they are known.
    Denied(Denial, Option<LimitsNow>),
    /// Ours.
    Fault(Fault),
}

/// Admission: rate limits and quota, all or nothing.
pub trait Admission {
    /// Takes a request's share of every limit, or of none.
    async fn admit(
        &self,
        organization: OrganizationId,
        charge: &Charge,
    ) -> Result<Admitted, Refusal>;
    /// Makes a hold durable. An `Err` means that it is not in the ledger, or will be voided.
    async fn settle(&self, settlement: Settlement) -> Result<Settled, Fault>;
    /// Gives a hold back. Takes no time worth awaiting: at the edge it is sent in the background.
    fn release(&self, organization: OrganizationId, hold: Hold, claim: Option<IdempotencyKey>);
    /// An idempotency key is no longer in flight.
    fn finish(&self, organization: OrganizationId, key: IdempotencyKey, usage: UsageId);
    /// Upkeep: renews leases, gives idle ones back, voids settlements whose outcome stayed unknown.
    async fn tend(&self) -> Result<(), Fault>;
    /// Settlements of unknown outcome that are still to be voided.
    fn voids_pending(&self) -> usize {
        0
    }
    /// Settlements since the start that stay charged although their clients were told otherwise.
    fn unvoided(&self) -> u64 {
        0
    }
    /// The node that holds the leases.
    fn node(&self) -> NodeId;
    /// A new receipt's number. Where an organization's usage is a place of its own (at the edge),
    /// the number tells which, since a receipt is looked up by its number alone.
    fn usage_id(&self, _organization: OrganizationId, at: Timestamp, entropy: [u8; 10]) -> UsageId {
        UsageId::make(at, entropy)
    }
}

/// The book of record of usage, as admission writes it.
pub trait Ledger {
    /// Renews, extends or gives back a node's lease.
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault>;
    /// Makes usage, audit row, idempotency record and outbox row durable, in one commit. A usage
    /// id that is in the ledger already is `Repeated`, and changes nothing; one that was voided, or
    /// an idempotency key that another usage id holds, is `Refused`.
    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault>;
    /// Takes a settlement back whose outcome was unknown. One that is not there may still be on its
    /// way: its number is refused for a day from when it was made. `FaultKind::Conflict` when it can
    /// never be taken back, since Stripe may know of it.
    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault>;
}

/// What was settled: usage, receipts, idempotency records. Apart from [`Ledger`], since at the edge
/// only an organization's object writes, and everybody reads.
pub trait UsageRecords {
    /// The usage of the period that holds `at`: of several `in_force`, if anything was ever leased
    /// in that one; else one in which something counts, the one learned last. `None` when there is
    /// none.
    async fn usage(
        &self,
        organization: OrganizationId,
        at: Timestamp,
        in_force: Period,
        grouping: Grouping,
    ) -> Result<Option<UsageSummary>, Fault>;
    /// A receipt.
    async fn receipt(&self, usage: UsageId) -> Result<Option<Receipt>, Fault>;
    /// What is kept of an idempotency key, unless it is older than its 24 hours. A settlement without
    /// an answer is kept without one.
    async fn kept(
        &self,
        organization: OrganizationId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<Kept>, Fault>;
    /// Claims a key for `usage` before its request begins, for `lifetime` at most: where several
    /// processes share the store, no two run under one key. A node sees to its own by itself.
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
    /// Ends a claim that left nothing to be kept.
    async fn unclaim(
        &self,
        _organization: OrganizationId,
        _key: &IdempotencyKey,
        _usage: UsageId,
    ) -> Result<(), Fault> {
        Ok(())
    }
    /// Drops a portion of what is kept no longer: idempotency records older than 24 hours, and
    /// what else a store purges. How many rows; 0 once there is no more.
    async fn purge_kept(&self, now: Timestamp) -> Result<u64, Fault>;
}

/// The audit log, a hash chain per organization.
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
    /// The end of the chain.
    async fn head(&self, organization: OrganizationId) -> Result<AuditHead, Fault>;
    /// Where the kept part of the chain begins: what [`Self::prune`] removed last.
    async fn checkpoint(&self, organization: OrganizationId) -> Result<AuditHead, Fault>;
    /// Removes the oldest entries from before `before`, in portions of at least a day and of some
    /// thousands at most, and enters the new checkpoint in the same commit; how many there were.
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
    /// To its last byte.
    Complete,
    /// The backend broke off, or the client went away.
    Truncated,
}

/// A response body read up to a bound.
#[derive(Debug)]
pub enum Collected<B> {
    /// All of it.
    Whole(Bytes),
    /// It is greater, takes longer, or finds no room: a body that yields what was read and then the rest.
    Unfinished(B),
    /// It broke off, for this reason.
    Broken(String),
}

/// The way to the backend.
pub trait Upstream: 'static {
    /// A client's body, as the host receives it.
    type RequestBody: 'static;
    /// A backend's body, as the host passes it on.
    type ResponseBody: 'static;

    /// Sends a request and waits for the response's head. The host states how the request's body is
    /// delimited, whatever its headers say.
    async fn send(
        &self,
        request: http::Request<Self::RequestBody>,
        route: &Route,
    ) -> Result<http::Response<Self::ResponseBody>, SendError>;
    /// Reads a client's body of at most `max` bytes; what it is read into holds its share of `buffers`.
    async fn collect(
        &self,
        body: Self::RequestBody,
        max: u64,
        buffers: &Arc<Buffers>,
    ) -> Result<Bytes, Refusal>;
    /// A request body of these bytes.
    fn request_body(bytes: Bytes) -> Self::RequestBody;
    /// A client's body that fails once more than `max` bytes came.
    fn limited(body: Self::RequestBody, max: u64) -> Self::RequestBody;
    /// A response body of these bytes.
    fn response_body(bytes: Bytes) -> Self::ResponseBody;
    /// A response body that is made as it is read; a fault breaks it off.
    fn stream_body(parts: impl Stream<Item = Result<Bytes, Fault>> + 'static)
    -> Self::ResponseBody;
    /// Reads a backend's body of at most `max` bytes, for so long at most, as far as `buffers` have room
    /// for it twice: it is settled, and answered.
    async fn collect_answer(
        &self,
        body: Self::ResponseBody,
        max: usize,
        within: Duration,
        buffers: &Arc<Buffers>,
    ) -> Collected<Self::ResponseBody>;
    /// A body that may go on for ever (a stream of events, or the WebSocket in place of a body) ends
    /// as soon as what `over` makes is ready. Other bodies stay as they are, and `over` is not called.
    fn ended_by<F: Future<Output = ()> + 'static>(
        body: Self::ResponseBody,
        over: impl FnOnce() -> F,
    ) -> Self::ResponseBody;
    /// A body that tells how it ended, once.
    fn watch(body: Self::ResponseBody, ended: Box<dyn FnOnce(BodyEnd)>) -> Self::ResponseBody;
}

/// Why no response head came.
#[derive(Debug)]
pub enum SendError {
    /// The backend's failure, or ours.
    Fault(Fault),
    /// The client's: its body was too large, broke off or stalled.
    Denied(Denial),
}

/// The time, for two purposes that must not be mixed.
pub trait Clock {
    /// The time by which everything is ordered and decided here. It never goes backwards, and it
    /// follows a wall clock that leaps only once the leap is confirmed.
    fn now(&self) -> Timestamp;
    /// The wall clock as it is set at this moment; it may go backwards. Use it only to judge a time
    /// that an outside party states or checks (a signature's `t`, the time of a meter event).
    fn wall(&self) -> Timestamp;
    /// The earlier of both: what an outside party checks by its own clock is not done before its time
    /// by either.
    fn agreed(&self) -> Timestamp {
        self.now().min(self.wall())
    }
    /// What is known of the clock: whether its time may be used for what cannot be undone.
    fn status(&self) -> ClockStatus {
        ClockStatus::STEADY
    }
}

/// Unpredictable bytes.
pub trait Entropy {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Work that outlives the request that began it.
pub trait Background {
    /// Runs a future to its end, whatever becomes of the caller.
    fn spawn(&self, work: impl Future<Output = ()> + 'static);
    /// Waits.
    async fn wait(&self, time: Duration);
}

/// Ten unpredictable bytes: what an id needs.
pub fn id_entropy(entropy: &impl Entropy) -> [u8; 10] {
    let mut bytes = [0; 10];
    entropy.fill(&mut bytes);
    bytes
}

/// Calls of other services: Stripe's API.
pub trait HttpClient {
    /// Sends a request and reads its answer, both within the host's bounds of time and size.
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, NoAnswer>;
}

/// No answer came, and why; whether the request had its effect is unknown. Never with a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// A host's choice of adapters.
pub trait Platform: 'static {
    /// Who counts units here, where the directory knows others too.
    const LEDGER: LedgerKind;
    /// Organizations and keys.
    type Directory: Directory;
    /// Limits and quota.
    type Admission: Admission;
    /// What was settled.
    type Usage: UsageRecords;
    /// The audit log.
    type Audit: AuditLog;
    /// Stripe's events.
    type Inbox: EventInbox;
    /// Usage on its way to Stripe.
    type Reports: UsageReports;
    /// What people are to be told.
    type Alerts: Alerts;
    /// The way to Stripe.
    type Http: HttpClient;
    /// The backend.
    type Upstream: Upstream;
    /// The time.
    type Clock: Clock;
    /// Unpredictable bytes.
    type Entropy: Entropy;
    /// Work in the background.
    type Background: Background;
}
