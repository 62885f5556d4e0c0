//! Admission over the cells of this process, with units leased from a ledger.
//!
//! Cells are kept in shards. Each shard has a lock that is held only briefly and never across an
//! await. Only one request at a time asks the ledger for an organization's units; the others wait
//! for the answer. If the outcome of a settlement stays unknown, the client gets an error and the
//! settlement is queued to be voided by [`Admission::tend`].

mod tend;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driftlock_domain::cell::{Admitted, Cell, Charge, Hold, HoldEnd, LimitsNow, NotAdmitted};
use driftlock_domain::denial::{Denial, Fault};
use driftlock_domain::fleet::FleetAnswer;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::idempotency::IdempotencyKey;
use driftlock_domain::lease::LeaseAsk;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use event_listener::{Event, EventListener};

use crate::ports::{Admission, Clock, Ledger, Refusal};

const SHARDS: usize = 64;
/// How often one request asks for a lease, or waits for another request's answer, before it is
/// denied because other requests hold the last units.
const ROUNDS_MAX: usize = 8;
/// A hold does not expire while its settlement takes at most this long.
const SETTLING_MARGIN: Duration = Duration::from_secs(30);
/// Leases that end within this time are renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(1);
/// Idle cells are dropped from shards that hold more than this.
const IDLE_KEPT: usize = 1_024;

/// The cells of one process. Clones share them.
#[derive(Debug)]
pub struct LocalCells<L, C> {
    inner: Arc<Inner>,
    ledger: L,
    clock: C,
}

impl<L: Clone, C: Clone> Clone for LocalCells<L, C> {
    fn clone(&self) -> Self {
        let (ledger, clock) = (self.ledger.clone(), self.clock.clone());
        Self { inner: Arc::clone(&self.inner), ledger, clock }
    }
}

#[derive(Debug)]
struct Inner {
    node: NodeId,
    shards: Box<[Mutex<HashMap<OrganizationId, Slot>>]>,
    voids: Mutex<VecDeque<(OrganizationId, UsageId)>>,
    /// How many settlements stay charged although their clients got an error.
    unvoided: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    cell: Cell,
    asking: bool,
    answered: Arc<Event>,
}

enum Step {
    Done(Admitted),
    Refused(Refusal),
    Ask(LeaseAsk, Timestamp),
    Wait(EventListener),
}

impl<L: Ledger, C: Clock> LocalCells<L, C> {
    /// Cells over a ledger that leases units to this process as `node`.
    pub fn new(ledger: L, clock: C, node: NodeId) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (voids, unvoided) = Default::default();
        Self { inner: Arc::new(Inner { node, shards, voids, unvoided }), ledger, clock }
    }

    /// The time of this node's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Applies the fleet's answer on a request that the cell has admitted. The fleet was asked at
    /// `asked`. Returns the limits afterwards.
    pub(crate) fn apply_fleet_answer(
        &self,
        organization: OrganizationId,
        charge: &Charge,
        answer: &FleetAnswer,
        asked: Timestamp,
    ) -> LimitsNow {
        let now = self.clock.now();
        self.with(organization, |slot| slot.cell.apply_fleet_answer(charge, answer, asked, now))
    }

    fn step(&self, organization: OrganizationId, charge: &Charge) -> Step {
        self.with(organization, |slot| {
            // Read the clock under the lock. A time from before another core's lease was granted
            // would fall into the pause after that lease, and the request would get 429 although
            // units are left.
            let now = self.clock.now();
            match slot.cell.admit(charge, now) {
                Ok(admitted) => Step::Done(admitted),
                Err(NotAdmitted::Denied(denial, limits)) => {
                    Step::Refused(Refusal::Denied(denial, limits))
                }
                Err(NotAdmitted::NeedsLease(_)) if slot.asking => {
                    Step::Wait(slot.answered.listen())
                }
                Err(NotAdmitted::NeedsLease(ask)) => {
                    slot.ask(&ask);
                    Step::Ask(ask, now)
                }
            }
        })
    }

    /// Asks for units and admits the request from them at once, so that no other request can take
    /// the units first.
    async fn ask(
        &self,
        organization: OrganizationId,
        charge: &Charge,
        ask: &LeaseAsk,
        asked: Timestamp,
    ) -> Result<Admitted, Refusal> {
        let mut asking = Asking::of(self, organization, asked);
        let grant = self.ledger.lease(organization, self.inner.node, ask, asked).await;
        let grant = grant.map_err(Refusal::Fault)?;
        asking.is_granted = true;
        let now = self.clock.now();
        self.with(organization, |slot| {
            slot.cell.granted(ask, &grant, asked);
            slot.cell.admit(charge, now).map_err(|refused| match refused {
                NotAdmitted::Denied(denial, limits) => Refusal::Denied(denial, limits),
                NotAdmitted::NeedsLease(_) => no_units(&slot.cell, charge, now),
            })
        })
    }

    /// Asks the ledger for the remaining quota, for the headers of a free request, if the cell does
    /// not know it yet. If the ledger does not answer, the headers are left out.
    async fn with_quota_snapshot(
        &self,
        organization: OrganizationId,
        charge: &Charge,
        admitted: Admitted,
    ) -> Admitted {
        let asked = self.clock.now();
        let ask = self.with(organization, |slot| {
            let ask = slot.cell.quota_snapshot_ask(charge.terms, asked).filter(|_| !slot.asking)?;
            slot.ask(&ask);
            Some(ask)
        });
        let Some(ask) = ask else { return admitted };
        if let Err(fault) = Asking::of(self, organization, asked).lease(&ask).await {
            tracing::debug!(error = fault.cause, "could not read the remaining quota");
            return admitted;
        }
        let now = self.clock.now();
        let quota = self.with(organization, |slot| slot.cell.quota(&charge.terms, now));
        Admitted { limits: LimitsNow { quota, ..admitted.limits }, ..admitted }
    }

    fn with<T>(&self, organization: OrganizationId, act: impl FnOnce(&mut Slot) -> T) -> T {
        act(lock(self.inner.shard(organization)).entry(organization).or_default())
    }

    fn end(&self, settlement: &Settlement, end: HoldEnd) {
        let hold = Hold { usage: settlement.usage, units: settlement.units };
        self.with(settlement.organization, |slot| slot.cell.end(&hold, end));
    }
}

impl<L: Ledger, C: Clock> Admission for LocalCells<L, C> {
    async fn admit(
        &self,
        organization: OrganizationId,
        charge: &Charge,
    ) -> Result<Admitted, Refusal> {
        for _ in 0..ROUNDS_MAX {
            match self.step(organization, charge) {
                Step::Done(admitted) if admitted.limits.quota.remaining.is_some() => {
                    return Ok(admitted);
                }
                Step::Done(admitted) => {
                    return Ok(
                        Box::pin(self.with_quota_snapshot(organization, charge, admitted)).await
                    );
                }
                Step::Refused(refusal) => return Err(refusal),
                Step::Ask(ask, asked) => {
                    return Box::pin(self.ask(organization, charge, &ask, asked)).await;
                }
                Step::Wait(answered) => answered.await,
            }
        }
        let now = self.clock.now();
        Err(self.with(organization, |slot| no_units(&slot.cell, charge, now)))
    }

    async fn settle(&self, settlement: Settlement) -> Result<Settled, Fault> {
        let now = self.clock.now();
        let (organization, usage) = (settlement.organization, settlement.usage);
        self.with(organization, |slot| slot.cell.settling(usage, now.plus(SETTLING_MARGIN)));
        let settled = match self.ledger.settle(settlement.clone(), now).await {
            // The settlement may have been written. Trying again is safe: the ledger charges a
            // usage id once.
            Err(_) => self.ledger.settle(settlement.clone(), self.clock.now()).await,
            Ok(settled) => Ok(settled),
        };
        match settled {
            Ok(Settled::Committed { lease, .. }) => self.end(&settlement, HoldEnd::Used { lease }),
            Ok(Settled::Repeated { .. }) => self.end(&settlement, HoldEnd::UsedBefore),
            Ok(Settled::Refused) => {
                self.end(&settlement, HoldEnd::Returned);
                // The cell still had the hold, so its view of the quota is wrong.
                self.with(organization, |slot| slot.cell.mark_stale());
            }
            Err(_) => {
                // The settlement may be in the ledger: its units stay used until it is voided.
                self.end(&settlement, HoldEnd::UsedBefore);
                self.void_later(organization, usage);
            }
        }
        settled
    }

    fn release(&self, organization: OrganizationId, hold: Hold, claim: Option<IdempotencyKey>) {
        self.with(organization, |slot| {
            slot.cell.end(&hold, HoldEnd::Returned);
            if let Some(key) = claim {
                slot.cell.finish(&key, hold.usage);
            }
        });
    }

    fn finish(&self, organization: OrganizationId, key: IdempotencyKey, usage: UsageId) {
        self.with(organization, |slot| slot.cell.finish(&key, usage));
    }

    async fn tend(&self) -> Result<(), Fault> {
        self.tend_once().await
    }

    fn unvoided(&self) -> u64 {
        self.inner.unvoided.load(Ordering::Relaxed)
    }

    fn voids_pending(&self) -> usize {
        lock(&self.inner.voids).len()
    }

    fn node(&self) -> NodeId {
        self.inner.node
    }
}

impl Inner {
    fn shard(&self, organization: OrganizationId) -> &Mutex<HashMap<OrganizationId, Slot>> {
        // The last bytes of a UUID are random.
        let last = usize::from(organization.as_bytes()[15]);
        &self.shards[last % SHARDS]
    }
}

impl Slot {
    /// Begins to ask for a lease. Until this ends, no other request asks.
    fn ask(&mut self, ask: &LeaseAsk) {
        self.asking = true;
        self.cell.asking(ask);
    }
}

/// A request for a lease in progress. When this is dropped, also by a cancelled request, the
/// waiting requests continue.
struct Asking<'a, L: Ledger, C: Clock> {
    cells: &'a LocalCells<L, C>,
    organization: OrganizationId,
    asked: Timestamp,
    is_granted: bool,
}

impl<'a, L: Ledger, C: Clock> Asking<'a, L, C> {
    fn of(cells: &'a LocalCells<L, C>, organization: OrganizationId, asked: Timestamp) -> Self {
        Self { cells, organization, asked, is_granted: false }
    }

    /// Asks for a lease and adds the granted units to the cell.
    async fn lease(&mut self, ask: &LeaseAsk) -> Result<(), Fault> {
        let Self { cells, organization, asked, .. } = *self;
        let grant = cells.ledger.lease(organization, cells.inner.node, ask, asked).await?;
        self.is_granted = true;
        cells.with(organization, |slot| slot.cell.granted(ask, &grant, asked));
        Ok(())
    }
}

impl<L: Ledger, C: Clock> Drop for Asking<'_, L, C> {
    fn drop(&mut self) {
        let now = self.cells.clock.now();
        let mut slots = lock(self.cells.inner.shard(self.organization));
        if let Some(slot) = slots.get_mut(&self.organization) {
            if !self.is_granted {
                slot.cell.not_granted(now);
            }
            slot.asking = false;
            slot.answered.notify(usize::MAX);
        }
    }
}

fn no_units(cell: &Cell, charge: &Charge, now: Timestamp) -> Refusal {
    let units = charge.hold.as_ref().map_or(0, |ask| u64::from(ask.units));
    match cell.no_units(charge, units, now) {
        NotAdmitted::Denied(denial, limits) => Refusal::Denied(denial, limits),
        NotAdmitted::NeedsLease(_) => Refusal::Denied(Denial::QuotaHeld, None),
    }
}

/// Locks, ignoring poison: the data stays valid even if a panic happened while the lock was held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
