//! Meter reports after changed terms, an immediate cancellation, or a leap of the clock.

use std::time::Duration;

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::config::Config;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::lease::{LeaseAsk, Sharing};
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::ReportMode;
use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Start};
use driftlock_domain::usage::Settled;
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Alerts, Clock, Directory, Ledger, UsageReports};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{ask, audit, node, now, organization, organization_id, settlement};
use driftlock_testkit::sim::{Asking, Sim, config, run};
use driftlock_testkit::stripe::StripeDouble;
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

struct World {
    store: MemoryStore,
    clock: VirtualClock,
    double: StripeDouble,
    process: Sim<MemoryStore>,
    life: Life,
    delivered: usize,
    settled: u64,
}

/// Plans with few units and reported overage.
fn terms() -> Config {
    let mut config = config();
    config.stripe.report_usage = ReportMode::Overage;
    let mut plans = serde_json::to_value(&config.plans).expect("JSON");
    plans["standard"]["included"] = 5.into();
    plans["growth"]["included"] = 20.into();
    config.plans = serde_json::from_value(plans).expect("a table of plans");
    config
}

impl World {
    /// An organization that bought `standard` at the full hour.
    fn new(config: &Config) -> Self {
        let (store, clock) =
            (MemoryStore::new(Sharing::Whole), VirtualClock::at(now().floor_to(3_600)));
        // Stripe has the correct time.
        let of_double = clock.clone();
        let double = StripeDouble::new(3, move || of_double.wall());
        let process = Sim::start(&store, &clock, &double, Asking::Online, config);
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
            start: clock.now(),
        });
        let standard = life.params().price.clone();
        life.subscribe(&standard, Start::Paid);
        life.checkout();
        let mut world = Self { store, clock, double, process, life, delivered: 0, settled: 0 };
        world.deliver();
        world
    }

    /// Time passes, for Stripe too.
    fn wait(&mut self, time: Duration) {
        self.clock.advance(time);
        self.life.wait(time);
    }

    fn deliver(&mut self) {
        self.double.put(&self.life);
        for event in &self.life.events()[self.delivered..] {
            assert_eq!(run(self.process.deliver(event.to_string().as_bytes())), 200);
            self.process.later.finish();
        }
        self.delivered = self.life.events().len();
    }

    fn period(&self) -> Period {
        self.life.subscriptions()[0].period
    }

    fn use_units(&mut self, units: u32) {
        let (id, at) = (organization_id(1), self.clock.now());
        let terms = Terms::free(self.period(), 5, None);
        let ask = LeaseAsk { terms, ..ask(None, 0, 100) };
        run(self.store.lease(id, node(1), &ask, at)).expect("leased");
        self.settled += 1;
        let mut one = settlement(1, self.settled);
        one.units = units;
        let settled = run(self.store.settle(one, at)).expect("settled");
        assert!(matches!(settled, Settled::Committed { .. }));
    }

    fn report(&self) {
        run(self.process.gateway.report_usage());
    }

    /// The values of all meter events, in order.
    fn reported(&self) -> Vec<i64> {
        self.double.meter_events().iter().map(|event| event.value).collect()
    }

    fn alerts(&self, kind: AlertKind) -> Vec<Alert> {
        let mut alerts = run(self.store.alerts(organization_id(1), 99)).expect("read");
        alerts.retain(|alert| alert.kind == kind);
        alerts
    }

    fn at_stripe(&self) -> i64 {
        self.double.metered(self.life.customer(), self.period())
    }
}

#[test]
fn an_upgrade_corrects_the_reported_overage() {
    let mut world = World::new(&terms());
    world.use_units(8);
    world.wait(HOUR + MINUTE);
    world.report();
    assert_eq!(world.reported(), [3], "8 of 5");
    let upgrade = world.life.params().upgrade.clone();
    world.life.change_price(&upgrade);
    world.deliver();
    // No more units are used: the next run of reports finds the correction all the same.
    world.report();
    assert_eq!(world.reported(), [3, -3], "8 of 20");
    assert_eq!(world.at_stripe(), 0, "the invoice bills nothing of it");
    let last = world.double.meter_events().pop().expect("reported");
    assert!(world.period().contains(last.timestamp));
    let alerts = world.alerts(AlertKind::OverageOverreported);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(
        (&alerts[0].details["units"], &alerts[0].details["included"]),
        (&json!(3), &json!(20))
    );
    assert_eq!(alerts[0].details["amount_micros"], json!(3 * 1_800), "at growth's price of a unit");
    assert_eq!(world.alerts(AlertKind::MeterError), []);

    // Reported once, and nothing is due any more.
    world.wait(3 * HOUR);
    world.report();
    assert_eq!(world.reported().len(), 2);
    let (status, found) = run(world.process.admin("POST", "/stripe/reconcile", &json!({})));
    assert_eq!((status, &found["ok"]), (200, &json!(true)), "{found}");
    assert_eq!(found["usage"][0]["drift"], json!(0), "{found}");

    // Later usage is reported beyond the 20 units that are included now.
    world.use_units(15);
    world.wait(HOUR + MINUTE);
    world.report();
    assert_eq!((world.reported(), world.at_stripe()), (vec![3, -3, 3], 3), "23 of 20");
    assert_eq!(world.alerts(AlertKind::OverageOverreported).len(), 1);
}

#[test]
fn a_correction_whose_answer_was_lost_counts_once() {
    use driftlock_testkit::stripe::{Fault, Faults};
    let mut world = World::new(&terms());
    world.use_units(8);
    world.wait(HOUR + MINUTE);
    world.report();
    let upgrade = world.life.params().upgrade.clone();
    world.life.change_price(&upgrade);
    world.deliver();
    world.double.set_faults(Faults::of(1, 1_000, vec![Fault::BreakAfter]));
    world.report();
    world.double.set_faults(Faults::none());
    for _ in 0..3 {
        world.wait(30 * MINUTE);
        world.report();
    }
    assert_eq!((world.reported(), world.at_stripe()), (vec![3, -3], 0));
    assert_eq!(world.alerts(AlertKind::OverageOverreported).len(), 1);
}

/// The invoice of an ended period was made with the terms of that period.
#[test]
fn an_upgrade_with_the_new_period_leaves_the_old_one_alone() {
    let mut world = World::new(&terms());
    let first = world.period();
    world.use_units(8);
    world.wait(HOUR + MINUTE);
    world.report();
    world.wait(first.end.since(world.clock.now()) + MINUTE);
    world.life.renew();
    world.life.pay();
    world.deliver();
    let upgrade = world.life.params().upgrade.clone();
    world.life.change_price(&upgrade);
    world.deliver();
    world.use_units(1);
    world.wait(HOUR + MINUTE);
    world.report();
    assert_eq!(world.reported(), [3]);
    assert_eq!(world.double.metered(world.life.customer(), first), 3);
}

#[test]
fn usage_before_an_immediate_cancellation_is_on_the_last_bill() {
    let mut world = World::new(&config());
    world.wait(24 * HOUR + 10 * MINUTE);
    world.use_units(3);
    world.wait(10 * MINUTE + Duration::from_secs(5));
    let end = world.life.now();
    world.life.cancel();
    world.deliver();
    world.wait(HOUR);
    world.report();
    let events = world.double.meter_events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].value, 3);
    assert!(events[0].timestamp < end, "{:?} is after the end {end:?}", events[0].timestamp);
    let service = Period { start: world.period().start, end };
    assert_eq!(world.double.metered(world.life.customer(), service), 3);
}

/// Stripe refuses meter events with a time more than five minutes ahead of its clock.
#[test]
fn after_a_leap_of_the_clock_usage_is_reported_when_its_hour_is_really_over() {
    let mut world = World::new(&config());
    world.use_units(3);
    world.clock.leap_and_return(2 * HOUR);
    world.report();
    assert_eq!(world.reported(), [0_i64; 0], "by the wall clock the hour is not over");
    world.clock.advance(HOUR + MINUTE);
    world.report();
    assert_eq!(world.reported(), [3]);
    let all = Period { start: world.period().start, end: world.clock.now() };
    let reports = run(world.store.reports(organization_id(1), all)).expect("read");
    assert!(reports.iter().all(|report| report.error.is_none()), "{reports:?}");
}
