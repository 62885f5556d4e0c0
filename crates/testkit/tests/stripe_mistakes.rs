//! Known mistakes of other programs in handling Stripe's events, tested through the whole gateway:
//! each test fails if the gateway makes the mistake. (For a failing write see
//! `e2e/tests/stripe_mistakes.rs`.)

use std::time::Duration;

use driftlock_domain::lease::Sharing;
use driftlock_domain::organization::SubscriptionStatus;
use driftlock_domain::stripe::delivery::{DeliveryState, InboxEntry};
use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Scenario};
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Clock, Directory, EventInbox, Page};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{audit, now, organization, organization_id};
use driftlock_testkit::sim::{Asking, Sim, config, run};
use driftlock_testkit::stripe::StripeDouble;

struct World {
    store: MemoryStore,
    clock: VirtualClock,
    double: StripeDouble,
    life: Life,
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let clock = VirtualClock::at(now());
        let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
        let life = scenario.life(LifeParams {
            seed: 3,
            shape: ApiShape::Basil,
            livemode: false,
            organization: organization_id(1).to_string(),
            customer: None,
            price: price("standard", 4_900),
            upgrade: price("growth", 24_900),
            start: now(),
        });
        clock.advance(life.now().since(clock.now()));
        let of_double = clock.clone();
        let double = StripeDouble::new(3, move || of_double.now());
        double.put(&life);
        Self { store: MemoryStore::new(Sharing::Whole), clock, double, life }
    }

    fn with_organization(self) -> Self {
        let owner = organization(1);
        let made = self.store.create_organization(&owner, audit("organization.create"));
        run(made).expect("made");
        self
    }

    fn start(&self, asking: Asking) -> Sim<MemoryStore> {
        Sim::start(&self.store, &self.clock, &self.double, asking, &config())
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.life.events().iter().map(|event| event.to_string().into_bytes()).collect()
    }

    fn in_state(&self, state: DeliveryState) -> Vec<InboxEntry> {
        let page = Page { after: None, limit: 1_000 };
        run(self.store.events(Some(state), page)).expect("memory does not fail")
    }

    fn status(&self) -> Option<SubscriptionStatus> {
        let found = run(self.store.organization(organization_id(1))).expect("memory does not fail");
        Some(found?.purchases?.subscriptions.first()?.status.clone())
    }
}

#[test]
fn claimed_then_crashed_is_taken_up_after_the_restart() {
    let (mut before, mut after) = (0, 0);
    for turns in 0..24 {
        let world = World::new(Scenario::Signup).with_organization();
        let process = world.start(Asking::Online);
        for body in world.bodies() {
            assert_eq!(run(process.deliver(&body)), 200);
        }
        process.later.stop_after(turns);
        drop(process);
        match world.in_state(DeliveryState::Pending).len() {
            0 => after += 1,
            _ => before += 1,
        }
        let restarted = world.start(Asking::Online);
        run(restarted.gateway.process_due_events());
        assert_eq!(world.in_state(DeliveryState::Pending), [], "stopped after {turns} turns");
        assert_eq!(world.in_state(DeliveryState::Done).len(), world.life.events().len());
        assert_eq!(world.status(), Some(SubscriptionStatus::Active));
    }
    assert!(before > 0 && after > 0, "it stopped {before} times before the end, {after} after it");
}

#[test]
fn newer_state_is_not_overwritten_by_an_older_event_on_its_way_through_the_inbox() {
    for asking in [Asking::Offline, Asking::Online] {
        let world = World::new(Scenario::Cancel).with_organization();
        let process = world.start(asking);
        for body in world.bodies().iter().rev() {
            assert_eq!(run(process.deliver(body)), 200);
            process.later.finish();
            assert_eq!(world.status(), Some(SubscriptionStatus::Canceled), "{asking:?}");
        }
    }
}

#[test]
fn an_event_that_cannot_be_processed_is_not_lost_after_its_200() {
    let world = World::new(Scenario::Signup);
    let process = world.start(Asking::Offline);
    for body in world.bodies() {
        assert_eq!(run(process.deliver(&body)), 200, "it is kept");
        process.later.finish();
    }
    let waiting = world.in_state(DeliveryState::Pending);
    assert_eq!(waiting.len(), world.life.events().len(), "there is no such organization yet");
    assert!(waiting.iter().all(|entry| entry.attempts > 0 && entry.error.is_some()), "{waiting:?}");
    let world = world.with_organization();
    world.clock.advance(Duration::from_secs(3_600));
    run(process.gateway.process_due_events());
    assert_eq!(world.in_state(DeliveryState::Pending), []);
    assert_eq!(world.status(), Some(SubscriptionStatus::Active));
}

#[test]
fn a_duplicate_after_a_crash_is_neither_lost_nor_done_twice() {
    let world = World::new(Scenario::Signup).with_organization();
    let process = world.start(Asking::Offline);
    for body in world.bodies() {
        assert_eq!(run(process.deliver(&body)), 200);
    }
    // The process stopped before it processed the event. Stripe got no answer and delivers it
    // again.
    drop(process);
    let restarted = world.start(Asking::Offline);
    for body in world.bodies() {
        assert_eq!(run(restarted.deliver(&body)), 200);
    }
    run(restarted.gateway.process_due_events());
    assert_eq!(world.in_state(DeliveryState::Done).len(), world.life.events().len());
    assert_eq!(world.status(), Some(SubscriptionStatus::Active));
}
