//! `FleetCells`: a request passes both this node's cells and the fleet's limits, or takes nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use driftlock_domain::cell::Admitted;
use driftlock_domain::denial::{Denial, LimitScope};
use driftlock_domain::fleet::{FleetAnswer, Share, Verdict};
use driftlock_domain::id::OrganizationId;
use driftlock_domain::idempotency::IdempotencyKey;
use driftlock_domain::lease::Sharing;
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Admission, FleetLimits, Refusal};
use driftlock_gateway::{FleetCells, LocalCells};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{charge, node, now, organization_id, usage};
use futures_executor::block_on;

/// The fleet store's behaviour for the next call.
#[derive(Clone, Copy)]
enum Manner {
    Answers(Verdict, Duration),
    Away,
    Silent,
}

#[derive(Clone)]
struct Fleet(Rc<(Cell<Manner>, Cell<u64>)>);

impl FleetLimits for Fleet {
    async fn take(&self, _: OrganizationId, _: &Share) -> Option<FleetAnswer> {
        self.0.1.set(self.0.1.get() + 1);
        match self.0.0.get() {
            Manner::Answers(verdict, key_ahead) => {
                Some(FleetAnswer { verdict, key_ahead, organization_ahead: Duration::ZERO })
            }
            Manner::Away => None,
            Manner::Silent => std::future::pending().await,
        }
    }
}

type Cells = FleetCells<MemoryStore, VirtualClock, Fleet>;

struct Node {
    cells: Cells,
    fleet: Fleet,
    clock: VirtualClock,
    number: Cell<u64>,
}

const FIRST: Manner = Manner::Answers(Verdict::Taken, Duration::from_secs(1));

impl Node {
    fn new() -> Self {
        let clock = VirtualClock::at(now());
        let store = MemoryStore::new(Sharing::Whole);
        let fleet = Fleet(Rc::new((Cell::new(FIRST), Cell::new(0))));
        let cells = LocalCells::new(store, clock.clone(), node(1));
        let cells = FleetCells::new(cells, Some((fleet.clone(), Arc::default())));
        Self { cells, fleet, clock, number: Cell::default() }
    }

    fn charge(&self, cap: u64, claim: Option<IdempotencyKey>) -> driftlock_domain::cell::Charge {
        self.number.set(self.number.get() + 1);
        let mut charge = charge(Some(cap), usage(now(), self.number.get()), claim);
        charge.key_requests_per_minute = 60.try_into().expect("not 0");
        charge
    }

    /// A metered request under this cap, with this behaviour of the fleet.
    fn admit(&self, manner: Manner, cap: u64) -> Result<Admitted, Refusal> {
        self.fleet.0.0.set(manner);
        block_on(self.cells.admit(organization_id(1), &self.charge(cap, None)))
    }

    fn asked(&self) -> u64 {
        self.fleet.0.1.get()
    }
}

fn denial(outcome: Result<Admitted, Refusal>) -> Denial {
    match outcome {
        Err(Refusal::Denied(denial, _)) => denial,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_refused_by_the_fleet_takes_no_unit_and_the_refusal_is_remembered() {
    let node = Node::new();
    let refuses = Manner::Answers(Verdict::KeyUsedUp, Duration::from_secs(60));
    let outcome = node.admit(refuses, 1);
    let Err(Refusal::Denied(denied, Some(limits))) = outcome else { panic!("{outcome:?}") };
    let limited =
        |secs| Denial::RateLimited { scope: LimitScope::Key, wait: Duration::from_secs(secs) };
    assert_eq!(denied, limited(1));
    assert_eq!((limits.key.remaining, limits.key.reset_secs), (0, 1));
    assert_eq!(limits.quota.remaining, Some(node_quota()));
    assert_eq!(denial(node.admit(FIRST, 1)), limited(1));
    assert_eq!(node.asked(), 1, "the second was denied here");
    node.clock.advance(Duration::from_secs(1));
    let used_up = Manner::Answers(Verdict::Taken, Duration::from_secs(60));
    node.admit(used_up, 1).expect("the one unit is there");
}

#[test]
fn a_request_over_quota_does_not_call_the_fleet() {
    let node = Node::new();
    node.admit(FIRST, 1).expect("the one unit");
    assert_eq!(denial(node.admit(FIRST, 1)), Denial::QuotaHeld);
    assert_eq!(node.asked(), 1);
}

#[test]
fn without_an_answer_the_nodes_own_limits_apply() {
    let node = Node::new();
    for _ in 0..60 {
        node.admit(Manner::Away, 1_000).expect("within the node's own limit");
    }
    let denied = denial(node.admit(Manner::Away, 1_000));
    assert!(matches!(denied, Denial::RateLimited { scope: LimitScope::Key, .. }), "{denied}");
    assert_eq!(node.asked(), 60);
}

#[test]
fn a_node_continues_from_the_fleets_state() {
    let node = Node::new();
    node.admit(Manner::Answers(Verdict::Taken, Duration::from_secs(58)), 10).expect("taken");
    node.admit(Manner::Away, 10).expect("59 of 60");
    node.admit(Manner::Away, 10).expect("60 of 60");
    denial(node.admit(Manner::Away, 10));
}

#[test]
fn a_client_that_leaves_during_the_fleets_call_frees_its_unit_and_idempotency_key() {
    let node = Node::new();
    let claim = IdempotencyKey([1; 32]);
    node.fleet.0.0.set(Manner::Silent);
    let charge = node.charge(1, Some(claim));
    {
        let mut asking = Box::pin(node.cells.admit(organization_id(1), &charge));
        let mut context = Context::from_waker(Waker::noop());
        assert!(asking.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(node.asked(), 1);
    node.fleet.0.0.set(FIRST);
    let charge = node.charge(1, Some(claim));
    block_on(node.cells.admit(organization_id(1), &charge)).expect("both are free again");
}

fn node_quota() -> u64 {
    charge(Some(1), usage(now(), 1), None).terms.included
}
