//! Lives at Stripe in virtual time, as a gateway is told of them: deliveries in any order, doubled,
//! late and lost in between, with restarts at any step. In the end the gateway's standing is held
//! against Stripe's own objects.

use std::time::Duration;

use driftlock_domain::organization::Organization;
use driftlock_domain::stripe::account::{Account, Billing};
use driftlock_domain::stripe::apply::open_disputes;
use driftlock_domain::stripe::event::{Event, EventKind};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::stripe::prices::PriceMap;
use driftlock_domain::stripe::sample::{ApiShape, Entropy, Life, LifeParams, SamplePrice, Start};
use driftlock_domain::stripe::subscription::SubscriptionState;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::Clock;
use serde_json::Value;

use super::{Asking, Sim, SimStore, config, run};
use crate::clock::VirtualClock;
use crate::make::{audit, now, organization};
use crate::stripe::{Network, StripeDouble};

const GRACE: Duration = Duration::from_secs(7 * 86_400);
const DEEDS_MAX: usize = 12;

/// How one life went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// The standing is Stripe's.
    Right,
    /// It was not, and a comparison with Stripe repaired it.
    Repaired,
}

/// What events say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// All that Stripe's do: `created` and `previous_attributes` determine their order.
    Whole,
    /// Nothing of what was before: of one second's events nothing determines the order.
    WithoutPrevious,
}

/// Lives the life of a seed, told in one order of arrival, over a store that is new.
///
/// # Panics
/// When the standing is not Stripe's in the end, not even after a comparison with it; and before one,
/// when Stripe was asked all along.
pub fn live<S: SimStore>(
    store: &S,
    seed: u64,
    order: u64,
    asking: Asking,
    telling: Telling,
) -> Course {
    let clock = VirtualClock::at(now());
    let double = StripeDouble::new(seed, {
        let clock = clock.clone();
        move || clock.now()
    });
    let owner = organization(1);
    run(store.create_organization(&owner, audit("organization.create"))).expect("made");
    let mut world = World {
        life: Life::new(params(seed, &owner)),
        network: Network::new(seed.wrapping_mul(17) ^ order),
        // What happens follows from the seed, how it is told from the order.
        entropy: Entropy::new(seed.wrapping_mul(31) ^ order.wrapping_mul(0x9e37_79b9)),
        sim: Sim::start(store, &clock, &double, asking, &config()),
        restart: Box::new(|| Sim::start(store, &clock, &double, asking, &config())),
        clock: &clock,
        double: &double,
        telling,
    };
    let mut deeds = Entropy::new(seed);
    let (standard, _) = world.prices();
    world.life.subscribe(&standard, Start::Paid);
    for _ in 0..deeds.below(DEEDS_MAX) {
        world.time_passes(&mut deeds);
        world.something_happens(&mut deeds);
        world.network_delivers();
    }
    world.everything_arrives();
    let truth = truth(&world.life);
    let customer = world.life.customer().to_owned();
    // When something changed last is the gateway's own; Stripe does not know it.
    let standing = || {
        let found = run(store.customer(&customer)).expect("read").standing;
        Billing { last_change: None, ..found }
    };
    if standing() == truth {
        return Course::Right;
    }
    assert_eq!(
        asking,
        Asking::Offline,
        "seed {seed}, order {order}: {:#?}\n{truth:#?}",
        standing()
    );
    let online = Sim::start(store, &clock, &double, Asking::Online, &config());
    run(online.gateway.reconcile_and_tell());
    assert_eq!(standing(), truth, "seed {seed}, order {order}: not even repaired");
    Course::Repaired
}

struct World<'a, S: SimStore> {
    life: Life,
    network: Network,
    entropy: Entropy,
    sim: Sim<S>,
    restart: Box<dyn Fn() -> Sim<S> + 'a>,
    clock: &'a VirtualClock,
    double: &'a StripeDouble,
    telling: Telling,
}

impl<S: SimStore> World<'_, S> {
    fn prices(&self) -> (SamplePrice, SamplePrice) {
        (self.life.params().price.clone(), self.life.params().upgrade.clone())
    }

    fn time_passes(&mut self, deeds: &mut Entropy) {
        // Mostly none: several things happen in one second.
        let secs = match deeds.below(4) {
            0 | 1 => 0,
            2 => 1 + deeds.below(2),
            _ => deeds.below(3_000_000),
        };
        self.life.wait(Duration::from_secs(secs as u64));
    }

    fn something_happens(&mut self, deeds: &mut Entropy) {
        let (standard, growth) = self.prices();
        let life = &mut self.life;
        match deeds.below(17) {
            0 => {
                life.cancel();
                let starts = [Start::Paid, Start::Unpaid, Start::Trial(14)];
                life.subscribe(&standard, starts[deeds.below(3)]);
            }
            1 | 2 => life.change_price(&growth),
            3 => life.change_price(&standard),
            4 | 5 => life.renew(),
            6 | 7 => life.pay(),
            8 | 9 => life.fail(),
            10 => life.give_up(),
            11 => life.pause(),
            12 => life.resume(),
            13 => life.schedule_cancellation(),
            14 => life.withdraw_cancellation(),
            15 => life.checkout(),
            _ => match deeds.below(5) {
                0 => life.cancel(),
                1 => life.void(),
                2 => life.announce_trial_end(),
                3 => life.dispute(),
                _ => life.set_shape(ApiShape::ALL[deeds.below(3)]),
            },
        }
    }

    /// Stripe knows of it at once; of the deliveries some arrive, some twice, some not yet.
    fn network_delivers(&mut self) {
        self.clock.advance(self.life.now().since(self.clock.now()));
        self.double.put(&self.life);
        self.network.carry(&self.life);
        for event in self.network.arrivals() {
            self.arrives(&event);
        }
    }

    fn arrives(&mut self, event: &Value) {
        let mut event = event.clone();
        if self.telling == Telling::WithoutPrevious
            && let Some(data) = event["data"].as_object_mut()
        {
            data.remove("previous_attributes");
        }
        let status = run(self.sim.deliver(event.to_string().as_bytes()));
        assert_eq!(status, 200);
        match self.entropy.below(6) {
            // Whoever processes is slow.
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
        for event in self.network.rest() {
            self.arrives(&event);
        }
        self.sim = (self.restart)();
        // Whatever was postponed comes round.
        for _ in 0..3 {
            run(self.sim.gateway.process_due_events());
            self.clock.advance(Duration::from_secs(3_600));
        }
    }
}

/// What follows from Stripe's own objects.
fn truth(life: &Life) -> Billing {
    let prices = PriceMap::default();
    let state = |object: &Value| SubscriptionState::from_object(object, &prices).expect("mapped");
    let subscriptions: Vec<SubscriptionState> =
        life.subscriptions().iter().map(|found| state(&found.render(ApiShape::Basil))).collect();
    let invoices: Vec<InvoiceState> = life
        .invoices()
        .iter()
        .map(|found| {
            let state = InvoiceState::from_object(&found.render(ApiShape::Basil), life.now());
            let first_failure_at = found.first_failure_at;
            InvoiceState { first_failure_at, ..state.expect("it has an id") }
        })
        .collect();
    let events = life.events().iter();
    let events: Vec<Event> =
        events.map(|event| Event::parse(event.to_string().as_bytes()).expect("an event")).collect();
    let of = |kind: EventKind| events.iter().filter(move |event| event.kind == kind);
    let noticed = of(EventKind::TrialWillEnd)
        .filter_map(|event| event.subject().subscription().map(str::to_owned));
    let disputes = open_disputes(&events);
    Billing::of(Account {
        subscriptions: &subscriptions,
        invoices: &invoices,
        trial_notices: &noticed.collect::<Vec<_>>(),
        disputes: &disputes,
        customer_deleted: of(EventKind::CustomerDeleted).next().is_some(),
        grace: GRACE,
    })
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
