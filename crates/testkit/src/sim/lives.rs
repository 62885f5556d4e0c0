//! Random lives of a Stripe customer in virtual time. The gateway gets their events in any order,
//! doubled, late, and with some deliveries lost in between, and restarts at any step. In the end
//! the gateway's billing state is compared with Stripe's objects.

use std::time::Duration;

use driftlock_domain::id::OrganizationId;
use driftlock_domain::organization::Organization;
use driftlock_domain::stripe::account::BillingState;
use driftlock_domain::stripe::sample::{ApiShape, Entropy, Life, LifeParams, SamplePrice, Start};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Clock, Page};
use serde_json::Value;

use super::{Asking, Sim, SimStore, config, run, run_for};
use crate::clock::VirtualClock;
use crate::make::{audit, now, organization};
use crate::stripe::{Attempt, Fate, Network, Outcome, StripeDouble};
use crate::stripe::{something_happens, time_passes, truth};

const GRACE: Duration = Duration::from_secs(7 * 86_400);
const ACTIONS_MAX: usize = 12;
/// The maximum number of deliveries between two actions.
const ARRIVALS_MAX: usize = 3;

/// The result of one life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// The billing state equals Stripe's.
    Right,
    /// The billing state differed, and a reconciliation with Stripe repaired it.
    Repaired,
}

/// The content of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventContent {
    /// As Stripe sends them: `created` and `previous_attributes` determine their order.
    Whole,
    /// Without `previous_attributes`: the order of events of one second is not determined.
    WithoutPrevious,
}

/// Runs the life of a seed with one order of arrival over a new store.
///
/// # Panics
/// When the billing state differs from Stripe's even after a reconciliation; with `Asking::Online`,
/// also when it differs before one.
pub fn live<S: SimStore>(
    store: &S,
    seed: u64,
    order: u64,
    asking: Asking,
    content: EventContent,
) -> Course {
    let clock = VirtualClock::at(now());
    let double = StripeDouble::new(seed, {
        let clock = clock.clone();
        move || clock.now()
    });
    let owner = organization(1);
    run(store.create_organization(&owner, audit("organization.create"))).expect("made");
    let mut world = World {
        store,
        owner: owner.id,
        life: Life::new(params(seed, &owner)),
        network: Network::new(seed.wrapping_mul(17) ^ order, ARRIVALS_MAX),
        sent: 0,
        // The seed decides what happens, `order` how its events are delivered.
        entropy: Entropy::new(seed.wrapping_mul(31) ^ order.wrapping_mul(0x9e37_79b9)),
        sim: Sim::start(store, &clock, &double, asking, &config()),
        restart: Box::new(|| Sim::start(store, &clock, &double, asking, &config())),
        clock: &clock,
        double: &double,
        content,
    };
    let mut actions = Entropy::new(seed);
    let standard = world.life.params().price.clone();
    world.life.subscribe(&standard, Start::Paid);
    for _ in 0..actions.below(ACTIONS_MAX) {
        time_passes(&mut world.life, &mut actions);
        something_happens(&mut world.life, &mut actions);
        world.network_delivers();
    }
    world.everything_arrives();
    let truth = truth(&world.life, GRACE);
    let customer = world.life.customer().to_owned();
    // `last_change` is the gateway's own; Stripe has no such value.
    let billing_state = || {
        let found = run(store.customer(&customer)).expect("read").billing_state;
        BillingState { last_change: None, ..found }
    };
    if billing_state() == truth {
        if (seed + order).is_multiple_of(8) {
            world.old_events_go();
            assert_eq!(
                billing_state(),
                truth,
                "seed {seed}, order {order}: after old events were removed"
            );
        }
        return Course::Right;
    }
    assert_eq!(
        asking,
        Asking::Offline,
        "seed {seed}, order {order}: {:#?}\n{truth:#?}",
        billing_state()
    );
    let online = Sim::start(store, &clock, &double, Asking::Online, &config());
    run(online.gateway.reconcile_and_log());
    assert_eq!(billing_state(), truth, "seed {seed}, order {order}: not even repaired");
    Course::Repaired
}

struct World<'a, S: SimStore> {
    store: &'a S,
    owner: OrganizationId,
    life: Life,
    network: Network<Value>,
    /// The number of events that were given to the network.
    sent: usize,
    entropy: Entropy,
    sim: Sim<S>,
    restart: Box<dyn Fn() -> Sim<S> + 'a>,
    clock: &'a VirtualClock,
    double: &'a StripeDouble,
    content: EventContent,
}

impl<S: SimStore> World<'_, S> {
    /// Stripe has the new state at once; some deliveries arrive, some twice, some not yet.
    fn network_delivers(&mut self) {
        self.clock.advance(self.life.now().since(self.clock.now()));
        self.double.put(&self.life);
        let events = self.life.events();
        events[self.sent..].iter().for_each(|event| self.network.carry(event.clone()));
        self.sent = events.len();
        self.network_delivers_a_round();
    }

    fn network_delivers_a_round(&mut self) {
        for Attempt { number, what, fate } in self.network.round() {
            let arrivals = match fate {
                Fate::Answered | Fate::AnswerLost => 1,
                Fate::Doubled => 2,
                Fate::HungUp | Fate::CutShort | Fate::Lost => 0,
            };
            (0..arrivals).for_each(|_| self.arrives(&what));
            if fate == Fate::HungUp {
                let (turns, body) = (self.entropy.below(4), self.body(&what));
                let _ = run_for(turns, self.sim.deliver(&body));
            }
            let is_taken = matches!(fate, Fate::Answered | Fate::Doubled);
            self.network.report(number, if is_taken { Outcome::Taken } else { Outcome::Untaken });
        }
    }

    fn body(&self, event: &Value) -> Vec<u8> {
        let mut event = event.clone();
        if self.content == EventContent::WithoutPrevious
            && let Some(data) = event["data"].as_object_mut()
        {
            data.remove("previous_attributes");
        }
        event.to_string().into_bytes()
    }

    fn arrives(&mut self, event: &Value) {
        let status = run(self.sim.deliver(&self.body(event)));
        assert_eq!(status, 200);
        match self.entropy.below(6) {
            // Processing is slow.
            0..=2 => {}
            3 | 4 => self.sim.later.finish(),
            _ => {
                self.sim.later.stop_after(self.entropy.below(8));
                self.sim = (self.restart)();
            }
        }
    }

    fn everything_arrives(&mut self) {
        self.network_delivers();
        while self.network.attempts().is_some() {
            self.network_delivers_a_round();
        }
        self.all_is_processed();
    }

    fn all_is_processed(&mut self) {
        self.sim = (self.restart)();
        // Postponed events become due again.
        for _ in 0..3 {
            run(self.sim.gateway.process_due_events());
            self.clock.advance(Duration::from_secs(3_600));
        }
    }

    /// Removes old events and delivers them again, as if Stripe still had them. Nothing changes,
    /// and no audit entry or alert follows.
    fn old_events_go(&mut self) {
        let (store, owner) = (self.store, self.owner);
        let kept = || {
            let page = Page { after: None, limit: 1_000 };
            run(store.events(None, page)).expect("read").len()
        };
        let audit_head = || run(store.head(owner)).expect("read");
        let (all, head) = (kept(), audit_head());
        self.clock.advance(Duration::from_secs(100 * 86_400));
        run(self.sim.gateway.forget_old_events(1_000)).expect("forgotten");
        let few = kept();
        assert!(few < all, "{few} of {all} are left");
        run(self.sim.gateway.forget_old_events(1_000)).expect("checked already");
        assert_eq!(kept(), few);
        self.sent = 0;
        self.everything_arrives();
        assert_eq!((kept(), audit_head()), (all, head));
    }
}

fn params(seed: u64, owner: &Organization) -> LifeParams {
    let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
    LifeParams {
        seed,
        shape: ApiShape::Basil,
        livemode: false,
        organization: owner.id.to_string(),
        customer: None,
        price: price("standard", 4_900),
        upgrade: price("growth", 24_900),
        start: Timestamp::from_secs(now().secs()),
    }
}
