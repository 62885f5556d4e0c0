//! `LocalCells`: concurrency never exceeds the cap (I4), on one node and on two that share a
//! ledger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use driftlock_domain::denial::Denial;
use driftlock_domain::idempotency::IdempotencyKey;
use driftlock_domain::lease::Sharing;
use driftlock_domain::period::Period;
use driftlock_domain::usage::{Grouping, Settled, Settlement};
use driftlock_gateway::LocalCells;
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Admission, Clock, Refusal, UsageRecords};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{charge, node, now, organization_id, settlement, usage};
use futures_executor::block_on;

type Cells = LocalCells<MemoryStore, VirtualClock>;

const CAP: u64 = 10_000;
const CLIENTS: u64 = 64;
const REQUESTS: u64 = 20_000;
const TTL: Duration = Duration::from_secs(2);

/// One request: admitted, and settled or, every seventh, failed and released.
fn request(cells: &Cells, number: u64) -> Result<u64, Denial> {
    let organization = organization_id(1);
    let id = usage(now(), number);
    let admitted = match block_on(cells.admit(organization, &charge(Some(CAP), id, None))) {
        Ok(admitted) => admitted,
        Err(Refusal::Denied(denial, _)) => return Err(denial),
        Err(Refusal::Fault(fault)) => panic!("memory does not fail: {fault}"),
    };
    let hold = admitted.hold.expect("metered");
    if number.is_multiple_of(7) {
        cells.release(organization, hold, None);
        return Ok(0);
    }
    let one = Settlement { usage: id, node: cells.node(), ..settlement(1, number) };
    match block_on(cells.settle(one)).expect("memory does not fail") {
        Settled::Committed { .. } => Ok(1),
        Settled::Repeated { .. } | Settled::Refused => Ok(0),
    }
}

fn run(nodes: &[Cells]) -> u64 {
    let (settled, next) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let cells = &nodes[usize::try_from(client).expect("small") % nodes.len()];
            let (settled, next) = (&settled, &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= REQUESTS {
                        return;
                    }
                    settled.fetch_add(request(cells, number).unwrap_or(0), Ordering::Relaxed);
                }
            });
        }
    });
    settled.into_inner()
}

fn units(store: &MemoryStore) -> u64 {
    let usage = block_on(store.usage(
        organization_id(1),
        now(),
        Period::calendar_month(now()),
        Grouping::Day,
    ));
    usage.expect("read").map_or(0, |usage| usage.units)
}

#[test]
fn one_node_settles_exactly_the_cap() {
    let store = MemoryStore::new(Sharing::Whole);
    let cells = LocalCells::new(store.clone(), VirtualClock::at(now()), node(1));
    assert_eq!(run(&[cells]), CAP);
    assert_eq!(units(&store), CAP);
}

#[test]
fn two_nodes_on_one_ledger_settle_exactly_the_cap_once_their_leases_are_back() {
    let store = MemoryStore::new(Sharing::Chunks { ttl: TTL });
    let clock = VirtualClock::at(now());
    let nodes = [1, 2].map(|number| LocalCells::new(store.clone(), clock.clone(), node(number)));
    let mut settled = run(&nodes);
    assert!(settled <= CAP, "{settled} on the way");
    assert_eq!(units(&store), settled);
    // Only units of leases are left; they become free when the leases end.
    let mut number = REQUESTS;
    for cells in nodes.iter().cycle().take(100) {
        clock.advance(TTL);
        block_on(cells.tend()).expect("memory does not fail");
        while let Ok(more) = request(cells, number) {
            settled += more;
            number += 1;
        }
    }
    assert_eq!(settled, CAP);
    assert_eq!(units(&store), CAP);
    let denied = request(&nodes[0], number).expect_err("used up");
    assert!(matches!(denied, Denial::QuotaExceeded { .. }), "{denied}");
}

#[test]
fn a_denial_consumes_nothing_and_an_expired_hold_is_freed() {
    let store = MemoryStore::new(Sharing::Whole);
    let clock = VirtualClock::at(now());
    let cells = LocalCells::new(store, clock.clone(), node(1));
    let organization = organization_id(1);
    let admit = |number| {
        let charge = charge(Some(1), usage(now(), number), None);
        block_on(cells.admit(organization, &charge))
    };
    let first = admit(1).expect("the one unit");
    assert_eq!(first.limits.quota.remaining, Some(0));
    let held = admit(2).expect_err("it is held");
    assert!(matches!(held, Refusal::Denied(Denial::QuotaHeld, _)), "{held:?}");
    clock.advance(Duration::from_secs(60));
    admit(3).expect("the first hold lapsed");
    assert!(clock.now() > now());
}

#[test]
fn an_idempotency_key_is_in_flight_once() {
    let store = MemoryStore::new(Sharing::Whole);
    let cells = LocalCells::new(store, VirtualClock::at(now()), node(1));
    let key = |key| IdempotencyKey([key; 32]);
    let admit = |number, of| {
        let charge = charge(Some(5), usage(now(), number), Some(key(of)));
        block_on(cells.admit(organization_id(1), &charge))
    };
    let first = admit(1, 1).expect("free").hold.expect("metered");
    let again = admit(2, 1).expect_err("in flight");
    assert!(matches!(again, Refusal::Denied(Denial::IdempotencyInFlight(_), _)), "{again:?}");
    admit(3, 2).expect("another key");
    cells.release(organization_id(1), first, Some(key(1)));
    admit(4, 1).expect("freed");
}
