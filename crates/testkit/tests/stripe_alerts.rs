//! Alerts about a subscription, each raised once.

use std::time::Duration;

use driftlock_domain::alert::AlertKind;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::lease::{LeaseAsk, Sharing};
use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Start};
use driftlock_domain::usage::Settlement;
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Alerts, Clock, Directory, Ledger};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{ask, audit, node, now, organization, organization_id, settlement};
use driftlock_testkit::sim::{Asking, Sim, config, run};
use driftlock_testkit::stripe::StripeDouble;

const DAY: Duration = Duration::from_secs(86_400);

struct World {
    store: MemoryStore,
    clock: VirtualClock,
    process: Sim<MemoryStore>,
    life: Life,
    delivered: usize,
}

impl World {
    fn new(start: Start) -> Self {
        let (store, clock) = (MemoryStore::new(Sharing::Whole), VirtualClock::at(now()));
        let double = StripeDouble::new(1, now);
        let made = organization(1);
        run(store.create_organization(&made, audit("organization.create"))).expect("made");
        let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
        let mut life = Life::new(LifeParams {
            seed: 3,
            shape: ApiShape::Basil,
            livemode: false,
            organization: organization_id(1).to_string(),
            customer: None,
            price: price("standard", 4_900),
            upgrade: price("growth", 24_900),
            start: now(),
        });
        let standard = life.params().price.clone();
        life.subscribe(&standard, start);
        life.checkout();
        let process = Sim::start(&store, &clock, &double, Asking::Offline, &config());
        Self { store, clock, process, life, delivered: 0 }
    }

    /// Delivers what happened since the last time.
    fn deliver(&mut self) {
        self.clock.advance(self.life.now().since(self.clock.now()));
        let news = self.life.events()[self.delivered..].to_vec();
        self.delivered += news.len();
        for event in news {
            assert_eq!(run(self.process.deliver(event.to_string().as_bytes())), 200);
        }
        self.process.later.finish();
    }

    fn maintain(&self) {
        assert_eq!(
            run(self.process.gateway.maintain_organizations(None, 9)).expect("maintained"),
            None
        );
    }

    fn count(&self, kind: AlertKind) -> usize {
        let all = run(self.store.alerts(organization_id(1), 99)).expect("read");
        all.iter().filter(|alert| alert.kind == kind).count()
    }
}

#[test]
fn the_end_of_a_trial_raises_one_alert() {
    let mut world = World::new(Start::Trial(14));
    world.deliver();
    assert_eq!(world.count(AlertKind::TrialEnding), 0);
    world.life.wait(DAY * 11);
    world.life.announce_trial_end();
    world.deliver();
    assert_eq!(world.count(AlertKind::TrialEnding), 1);
    world.life.announce_trial_end();
    world.deliver();
    assert_eq!(world.count(AlertKind::TrialEnding), 1);
}

#[test]
fn the_end_of_the_grace_time_raises_one_alert_a_day_before() {
    let mut world = World::new(Start::Paid);
    world.life.renew();
    world.life.fail();
    world.deliver();
    assert_eq!(world.count(AlertKind::PaymentFailed), 1);
    world.maintain();
    assert_eq!(world.count(AlertKind::GraceEnding), 0, "there are days left");
    world.clock.advance(DAY * 6 + Duration::from_secs(3_600));
    for _ in 0..2 {
        world.maintain();
        assert_eq!(world.count(AlertKind::GraceEnding), 1);
    }
    world.clock.advance(DAY);
    world.maintain();
    assert_eq!(world.count(AlertKind::GraceEnding), 1, "it is over");
}

#[test]
fn a_payment_before_the_end_prevents_the_alert() {
    let mut world = World::new(Start::Paid);
    world.life.renew();
    world.life.fail();
    world.life.wait(DAY);
    world.life.pay();
    world.deliver();
    world.clock.advance(DAY * 5 + Duration::from_secs(3_600));
    world.maintain();
    assert_eq!(world.count(AlertKind::GraceEnding), 0);
}

#[test]
fn each_dispute_and_a_second_live_subscription_raise_an_alert() {
    let mut world = World::new(Start::Paid);
    world.life.dispute();
    world.deliver();
    assert_eq!(world.count(AlertKind::ChargeDisputed), 1);
    world.life.close_dispute();
    world.life.wait(DAY);
    world.life.dispute();
    world.deliver();
    assert_eq!(world.count(AlertKind::ChargeDisputed), 2);
    assert_eq!(world.count(AlertKind::SeveralSubscriptions), 0);
    let growth = world.life.params().upgrade.clone();
    world.life.subscribe(&growth, Start::Paid);
    world.deliver();
    assert_eq!(world.count(AlertKind::SeveralSubscriptions), 1);
}

#[test]
fn a_downgrade_raises_the_alerts_of_the_smaller_plan_at_once() {
    let mut world = World::new(Start::Paid);
    let (standard, growth) = {
        let params = world.life.params();
        (params.price.clone(), params.upgrade.clone())
    };
    world.life.change_price(&growth);
    world.deliver();
    let period = world.life.subscriptions()[0].period;
    // 300,000 units reach no threshold of the larger plan, and the cap of the smaller one.
    let terms = Terms::free(period, 2_000_000, Some(2_400_000));
    let ask = LeaseAsk { terms, ..ask(None, 0, 300_000) };
    run(world.store.lease(organization_id(1), node(1), &ask, now())).expect("leased");
    let used = Settlement { units: 300_000, ..settlement(1, 1) };
    run(world.store.settle(used, now())).expect("settled");
    assert_eq!(world.count(AlertKind::Usage70Percent), 0);
    for _ in 0..2 {
        world.life.wait(DAY);
        world.life.change_price(&standard);
        world.deliver();
        for kind in [
            AlertKind::Usage70Percent,
            AlertKind::Usage90Percent,
            AlertKind::Usage100Percent,
            AlertKind::OverageStarted,
            AlertKind::CapReached,
        ] {
            assert_eq!(world.count(kind), 1, "{kind:?}, once in the period");
        }
        world.life.wait(DAY);
        world.life.change_price(&growth);
        world.deliver();
    }
}
