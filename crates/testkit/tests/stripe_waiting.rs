//! Events that cannot be processed yet wait for days; the limit is a time, not a number of tries.

use std::time::Duration;

use driftlock_domain::lease::Sharing;
use driftlock_domain::organization::SubscriptionStatus;
use driftlock_domain::stripe::delivery::DeliveryState;
use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Scenario};
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Clock, Directory, EventInbox, Page};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{audit, now, organization, organization_id};
use driftlock_testkit::sim::{Asking, Sim, config, run};
use driftlock_testkit::stripe::StripeDouble;
use serde_json::Value;

const HOUR: Duration = Duration::from_secs(3_600);
const BURST: usize = 330;

struct World {
    store: MemoryStore,
    clock: VirtualClock,
    process: Sim<MemoryStore>,
}

impl World {
    fn new() -> Self {
        let (store, clock) = (MemoryStore::new(Sharing::Whole), VirtualClock::at(now()));
        let of_double = clock.clone();
        let double = StripeDouble::new(3, move || of_double.now());
        let process = Sim::start(&store, &clock, &double, Asking::Offline, &config());
        Self { store, clock, process }
    }

    fn deliver(&self, event: &Value) {
        assert_eq!(run(self.process.deliver(event.to_string().as_bytes())), 200);
        self.process.later.finish();
    }

    /// Lets time pass, and processes due events every hour.
    fn wait(&self, hours: u32) {
        for _ in 0..hours {
            self.clock.advance(HOUR);
            run(self.process.gateway.process_due_events());
        }
    }

    fn count(&self, state: DeliveryState) -> usize {
        let page = Page { after: None, limit: 1_000 };
        run(self.store.events(Some(state), page)).expect("read").len()
    }
}

/// A sign-up, and one event repeated under other ids, like the events of a customer that pays
/// often.
fn events() -> Vec<Value> {
    let price = |plan: &str| SamplePrice { id: format!("price_{plan}"), cents: 4_900 };
    let life: Life = Scenario::Signup.life(LifeParams {
        seed: 3,
        shape: ApiShape::Basil,
        livemode: false,
        organization: organization_id(1).to_string(),
        customer: None,
        price: price("standard"),
        upgrade: price("growth"),
        start: now(),
    });
    let mut events = life.into_events();
    let last = events.last().expect("it has events").clone();
    while events.len() < BURST {
        let mut another = last.clone();
        another["id"] = format!("evt_more_{}", events.len()).into();
        events.push(another);
    }
    events
}

#[test]
fn a_burst_of_deliveries_of_an_unlinked_customer_makes_no_dead_letters() {
    let world = World::new();
    for event in events() {
        world.deliver(&event);
        world.clock.advance(Duration::from_millis(6));
    }
    assert_eq!((world.count(DeliveryState::Dead), world.count(DeliveryState::Pending)), (0, BURST));
    world.wait(3 * 24 - 1);
    assert_eq!((world.count(DeliveryState::Dead), world.count(DeliveryState::Pending)), (0, BURST));
    // The organization is created in time.
    let made = organization(1);
    run(world.store.create_organization(&made, audit("organization.create"))).expect("made");
    world.clock.advance(HOUR / 4);
    run(world.process.gateway.process_due_events());
    assert_eq!(world.count(DeliveryState::Done), BURST);
    let owner = run(world.store.organization(organization_id(1))).expect("read").expect("there");
    assert_eq!(owner.bought()[0].status, SubscriptionStatus::Active);
}

#[test]
fn after_three_days_an_event_is_a_dead_letter_and_a_replay_gives_it_three_more() {
    let world = World::new();
    let events = events();
    world.deliver(&events[0]);
    world.wait(24);
    world.deliver(&events[1]);
    world.wait(49);
    assert_eq!((world.count(DeliveryState::Dead), world.count(DeliveryState::Pending)), (1, 1));
    let id = events[0]["id"].as_str().expect("an id");
    run(world.store.replay(id, world.clock.now())).expect("replayed");
    run(world.process.gateway.process_due_events());
    assert_eq!(world.count(DeliveryState::Dead), 0, "one try does not end it");
    world.wait(25);
    assert_eq!((world.count(DeliveryState::Dead), world.count(DeliveryState::Pending)), (1, 1));
    world.wait(48);
    assert_eq!(world.count(DeliveryState::Dead), 2);
}
