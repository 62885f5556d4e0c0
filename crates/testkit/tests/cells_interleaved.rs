//! `LocalCells` under random orders of events, by seed: late and missing answers, raised caps,
//! period changes, clients that leave. Usage never exceeds the cap (I4). Once everything has ended,
//! the last unit of the cap can be used.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use driftlock_domain::cell::{Charge, Hold};
use driftlock_domain::denial::{Denial, Fault};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::{NodeId, OrganizationId, UsageId};
use driftlock_domain::lease::{LeaseAsk, LeaseGrant, Sharing};
use driftlock_domain::period::Period;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement};
use driftlock_gateway::LocalCells;
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Admission, Clock, Ledger, Refusal, UsageRecords};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{charge, node, now, organization_id, settlement, terms, usage};
use futures_executor::block_on;

const SEEDS: u64 = 400;
const REQUESTS: u64 = 60;
const TTL: Duration = Duration::from_secs(2);

/// The random numbers of a seed; clones share them.
#[derive(Clone)]
struct Dice(Rc<Cell<u64>>);

impl Dice {
    fn throw(&self, sides: u64) -> u64 {
        let mut state = self.0.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.set(state);
        (state >> 11) % sides
    }

    /// Lets other futures run first, up to three times.
    async fn pause(&self) {
        for _ in 0..self.throw(4) {
            let mut is_first = true;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        }
    }
}

/// A ledger behind a slow connection that loses answers.
#[derive(Clone)]
struct Line {
    store: MemoryStore,
    dice: Dice,
    is_calm: Rc<Cell<bool>>,
}

impl Line {
    async fn carry<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        if self.is_calm.get() {
            return work.await;
        }
        self.dice.pause().await;
        if self.dice.throw(20) == 0 {
            return Err(Fault::store("the question was lost"));
        }
        let answer = work.await;
        self.dice.pause().await;
        if self.dice.throw(20) == 0 { Err(Fault::store("the answer was lost")) } else { answer }
    }
}

impl Ledger for Line {
    async fn lease(
        &self,
        organization: OrganizationId,
        node: NodeId,
        ask: &LeaseAsk,
        now: Timestamp,
    ) -> Result<LeaseGrant, Fault> {
        self.carry(self.store.lease(organization, node, ask, now)).await
    }

    async fn settle(&self, settlement: Settlement, now: Timestamp) -> Result<Settled, Fault> {
        self.carry(self.store.settle(settlement, now)).await
    }

    async fn void(&self, organization: OrganizationId, usage: UsageId) -> Result<(), Fault> {
        self.carry(self.store.void(organization, usage)).await
    }
}

type Cells = LocalCells<Line, VirtualClock>;
type Task = (Pin<Box<dyn Future<Output = ()>>>, Rc<Cell<bool>>);

struct World {
    dice: Dice,
    clock: VirtualClock,
    line: Line,
    nodes: Vec<Cells>,
    terms: Cell<Terms>,
    /// The answer to each client.
    answers: RefCell<BTreeMap<UsageId, Result<Settled, Fault>>>,
}

/// Gives its hold back, unless it is settled.
struct Held<'a> {
    cells: &'a Cells,
    hold: Option<Hold>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.cells.release(organization_id(1), hold, None);
        }
    }
}

impl World {
    fn new(seed: u64, sharing: Sharing, nodes: u8) -> Self {
        let dice = Dice(Rc::new(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)));
        let clock = VirtualClock::at(now());
        let store = MemoryStore::new(sharing);
        let line = Line { store, dice: dice.clone(), is_calm: Rc::default() };
        let nodes = (1..=nodes)
            .map(|number| LocalCells::new(line.clone(), clock.clone(), node(number)))
            .collect();
        let terms = Cell::new(terms(Some(10)));
        Self { dice, clock, line, nodes, terms, answers: RefCell::default() }
    }

    fn charge(&self, number: u64) -> Charge {
        Charge { terms: self.terms.get(), ..charge(None, usage(now(), number), None) }
    }

    /// One request; `settles` is set once a leaving client no longer ends it.
    async fn request(&self, number: u64, settles: Rc<Cell<bool>>) {
        let cells = &self.nodes[self.dice.throw(self.nodes.len() as u64) as usize];
        self.dice.pause().await;
        let Ok(admitted) = cells.admit(organization_id(1), &self.charge(number)).await else {
            return;
        };
        let mut held = Held { cells, hold: admitted.hold };
        self.dice.pause().await;
        if self.dice.throw(6) == 0 {
            return;
        }
        settles.set(true);
        let id = usage(now(), number);
        let one = Settlement { usage: id, node: cells.node(), ..settlement(1, number) };
        let mut answer = cells.settle(one.clone()).await;
        if answer.is_ok() && self.dice.throw(8) == 0 {
            // The caller did not get the answer, and asks again.
            answer = cells.settle(one).await;
        }
        held.hold = None;
        self.answers.borrow_mut().insert(id, answer);
        self.is_within_the_cap();
    }

    fn used(&self) -> u64 {
        let period = self.terms.get().period;
        let found = self.line.store.usage(
            organization_id(1),
            self.clock.now().max(period.start),
            period,
            Grouping::Day,
        );
        block_on(found).expect("read").map_or(0, |usage| usage.units)
    }

    fn is_within_the_cap(&self) {
        let cap = self.terms.get().cap.expect("capped");
        assert!(self.used() <= cap, "{} of {cap}", self.used());
    }

    /// Operators, clocks and upkeep.
    async fn happen(&self) {
        for _ in 0..12 {
            self.dice.pause().await;
            match self.dice.throw(6) {
                0 => {
                    let terms = self.terms.get();
                    let cap = terms.cap.expect("capped") + self.dice.throw(8);
                    self.terms.set(Terms { included: cap, cap: Some(cap), ..terms });
                }
                1 => self.turn(),
                2 => self.clock.advance(Duration::from_millis(500)),
                _ => {
                    for cells in &self.nodes {
                        // What this round does not do, a later one does.
                        let _ = cells.tend().await;
                    }
                }
            }
        }
    }

    fn turn(&self) {
        let terms = self.terms.get();
        if self.dice.throw(2) == 0 {
            return;
        }
        self.clock.advance(terms.period.end.since(self.clock.now()));
        let period = Period::calendar_month(self.clock.now());
        self.terms.set(Terms::free(period, 10, Some(10)));
    }

    /// Ends everything that was begun.
    fn come_to_rest(self: &Rc<Self>) {
        let mut tasks: Vec<Task> = Vec::new();
        for number in 0..REQUESTS {
            let (world, settles) = (Rc::clone(self), Rc::<Cell<bool>>::default());
            let task = Rc::clone(&settles);
            tasks.push((Box::pin(async move { world.request(number, task).await }), settles));
        }
        let world = Rc::clone(self);
        let happening = Rc::new(Cell::new(true));
        tasks.push((Box::pin(async move { world.happen().await }), happening));
        let mut context = Context::from_waker(Waker::noop());
        while !tasks.is_empty() {
            let place = self.dice.throw(tasks.len() as u64) as usize;
            let (task, settles) = &mut tasks[place];
            let leaves = !settles.get() && self.dice.throw(60) == 0;
            if leaves || task.as_mut().poll(&mut context).is_ready() {
                drop(tasks.swap_remove(place));
            }
        }
        self.line.is_calm.set(true);
        // A report to the ledger without an answer is repeated after a while.
        self.clock.advance(Duration::from_secs(10));
        // The first round voids settlements; the second learns which units that freed.
        for cells in self.nodes.iter().chain(&self.nodes) {
            block_on(cells.tend()).expect("the line is calm");
        }
    }

    /// The ledger has exactly the settlements that clients were answered with.
    fn all_receipts_are_there(&self) {
        for number in 0..REQUESTS {
            let id = usage(now(), number);
            let receipt = block_on(self.line.store.receipt(id)).expect("read");
            let answer = self.answers.borrow().get(&id).cloned();
            let is_charged = matches!(answer, Some(Ok(settled)) if settled.counts());
            assert_eq!(receipt.is_some(), is_charged, "{answer:?}");
        }
    }

    /// One request after another, until one is denied.
    fn use_up(&self, cells: &Cells, from: u64) -> (u64, Denial) {
        for number in from.. {
            let organization = organization_id(1);
            match block_on(cells.admit(organization, &self.charge(number))) {
                Ok(_) => {}
                Err(Refusal::Denied(denial, _)) => return (number, denial),
                Err(Refusal::Fault(fault)) => panic!("the line is calm: {fault}"),
            }
            let id = usage(now(), number);
            let one = Settlement { usage: id, node: cells.node(), ..settlement(1, number) };
            let settled = block_on(cells.settle(one)).expect("the line is calm");
            assert!(matches!(settled, Settled::Committed { .. }), "{settled:?}");
            self.is_within_the_cap();
        }
        unreachable!("the cap ends it")
    }

    fn quota_shown(&self, cells: &Cells) -> Option<u64> {
        let free = Charge { hold: None, ..self.charge(0) };
        let admitted = block_on(cells.admit(organization_id(1), &free)).expect("it is free");
        admitted.limits.quota.remaining
    }
}

#[test]
fn one_node_withholds_no_unit_and_exceeds_no_cap() {
    for seed in 1..=SEEDS {
        let world = Rc::new(World::new(seed, Sharing::Whole, 1));
        world.come_to_rest();
        world.all_receipts_are_there();
        let cap = world.terms.get().cap.expect("capped");
        let cells = &world.nodes[0];
        assert_eq!(world.quota_shown(cells), Some(cap - world.used()), "seed {seed}");
        let (_, denial) = world.use_up(cells, REQUESTS);
        assert_eq!(world.used(), cap, "seed {seed}");
        assert!(matches!(denial, Denial::QuotaExceeded { .. }), "seed {seed}: {denial}");
        assert_eq!(world.quota_shown(cells), Some(0), "seed {seed}");
    }
}

#[test]
fn two_nodes_withhold_no_unit_and_exceed_no_cap() {
    for seed in 1..=SEEDS {
        let world = Rc::new(World::new(seed, Sharing::Chunks { ttl: TTL }, 2));
        world.come_to_rest();
        world.all_receipts_are_there();
        let cap = world.terms.get().cap.expect("capped");
        let mut number = REQUESTS;
        for cells in world.nodes.iter().cycle().take(20) {
            world.clock.advance(TTL);
            number = world.use_up(cells, number).0 + 1;
        }
        assert_eq!(world.used(), cap, "seed {seed}");
        let (_, denial) = world.use_up(&world.nodes[0], number);
        assert!(matches!(denial, Denial::QuotaExceeded { .. }), "seed {seed}: {denial}");
    }
}
