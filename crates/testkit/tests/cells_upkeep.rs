//! Periodic work of `LocalCells`: a failure, even a permanent one, stops no other work.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant, Sharing};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Settled, Settlement};
use driftlock_gateway::LocalCells;
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Admission, Ledger, UsageRecords};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{charge, node, now, organization_id, settlement, usage};
use futures_executor::block_on;

const TTL: Duration = Duration::from_secs(2);

/// A ledger that commits without an answer, and fails where a test asks it to.
#[derive(Clone)]
struct Failing {
    store: MemoryStore,
    manner: Rc<RefCell<Manner>>,
}

#[derive(Default)]
struct Manner {
    is_mute: bool,
    voids: BTreeMap<UsageId, FaultKind>,
    leases: BTreeSet<OrganizationId>,
    leased: Vec<OrganizationId>,
}

impl Ledger for Failing {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        if self.manner.borrow().leases.contains(&organization) {
            return Err(Fault::store("no lease for this one"));
        }
        self.manner.borrow_mut().leased.push(organization);
        self.store.lease(organization, node, ask, now).await
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        let settled = self.store.settle(settlement, now).await;
        if self.manner.borrow().is_mute { Err(Fault::store("no answer")) } else { settled }
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        let failure = self.manner.borrow().voids.get(&usage).copied();
        match failure {
            Some(kind) => Err(Fault::new(kind, "not this one")),
            None => self.store.void(organization, usage).await,
        }
    }
}

fn world() -> (LocalCells<Failing, VirtualClock>, Failing, VirtualClock) {
    let store = MemoryStore::new(Sharing::Chunks { ttl: TTL });
    let ledger = Failing { store, manner: Rc::default() };
    let clock = VirtualClock::at(now());
    (LocalCells::new(ledger.clone(), clock.clone(), node(1)), ledger, clock)
}

#[test]
fn a_settlement_that_cannot_be_voided_is_reported_and_stops_no_other() {
    let (cells, ledger, _) = world();
    ledger.manner.borrow_mut().is_mute = true;
    for number in 1..=3 {
        let charge = charge(Some(9), usage(now(), number), None);
        block_on(cells.admit(organization_id(1), &charge)).expect("a unit is there");
        let unknown = block_on(cells.settle(settlement(1, number)));
        unknown.expect_err("its outcome is unknown");
    }
    let is_charged =
        |number| block_on(ledger.store.receipt(usage(now(), number))).expect("read").is_some();
    assert!(is_charged(1) && is_charged(2) && is_charged(3));
    ledger.manner.borrow_mut().voids = BTreeMap::from([
        (usage(now(), 1), FaultKind::Conflict),
        (usage(now(), 2), FaultKind::Store),
    ]);
    block_on(cells.tend()).expect_err("the second has to be tried again");
    assert!(!is_charged(3), "whatever became of those before it");
    assert_eq!(cells.unvoided(), 1, "the first never can be");
    ledger.manner.borrow_mut().voids.clear();
    block_on(cells.tend()).expect("now it can");
    assert!(!is_charged(2));
    assert!(is_charged(1), "and is not tried again");
    assert_eq!(cells.unvoided(), 1);
}

#[test]
fn one_organization_s_lease_that_fails_stops_no_other_s() {
    let (cells, ledger, clock) = world();
    for organization in 1..=3 {
        let charge = charge(Some(9), usage(now(), u64::from(organization)), None);
        let admitted = block_on(cells.admit(organization_id(organization), &charge));
        admitted.expect("a unit is there");
    }
    clock.advance(TTL.saturating_sub(Duration::from_millis(500)));
    ledger.manner.borrow_mut().leased.clear();
    for failing in 1..=3 {
        ledger.manner.borrow_mut().leases = BTreeSet::from([organization_id(failing)]);
        block_on(cells.tend()).expect_err("one fails");
        clock.advance(TTL.saturating_sub(Duration::from_millis(500)));
    }
    let mut leased = ledger.manner.borrow().leased.clone();
    leased.sort();
    leased.dedup();
    assert_eq!(leased, [1, 2, 3].map(organization_id));
    assert!(ledger.manner.borrow().leased.len() >= 6, "two of three, three times");
}

#[test]
fn voided_units_can_be_used_again_at_once() {
    let store = MemoryStore::new(Sharing::Whole);
    let ledger = Failing { store, manner: Rc::default() };
    let cells = LocalCells::new(ledger.clone(), VirtualClock::at(now()), node(1));
    let admit = |number| {
        let charge = charge(Some(1), usage(now(), number), None);
        block_on(cells.admit(organization_id(1), &charge)).map(drop)
    };
    admit(1).expect("the one unit");
    ledger.manner.borrow_mut().is_mute = true;
    block_on(cells.settle(settlement(1, 1))).expect_err("no answer");
    admit(2).expect_err("it may be used");
    block_on(cells.tend()).expect("voided");
    admit(3).expect("it is there again");
}
