//! Processing of events: meter errors, the other mode, many events at once.

use std::time::Duration;

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::config::Config;
use driftlock_domain::lease::Sharing;
use driftlock_domain::organization::OrganizationPatch;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::delivery::DeliveryState;
use driftlock_domain::stripe::meter::{ReportMode, SealRule};
use driftlock_domain::stripe::sample::{
    ApiShape, Life, LifeParams, SamplePrice, Scenario, fetched, meter_error_report,
};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{Alerts, Clock, Directory, EventInbox, Ledger, UsageReports};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{ask, audit, node, now, organization, organization_id, settlement};
use driftlock_testkit::sim::{Asking, Sim, config, run};
use driftlock_testkit::stripe::StripeDouble;
use serde_json::Value;

struct World {
    store: MemoryStore,
    clock: VirtualClock,
    double: StripeDouble,
    life: Life,
}

impl World {
    fn new() -> Self {
        let clock = VirtualClock::at(now());
        let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
        let life = Scenario::Signup.life(LifeParams {
            seed: 3,
            shape: ApiShape::Basil,
            livemode: false,
            organization: organization_id(1).to_string(),
            customer: None,
            price: price("standard", 4_900),
            upgrade: price("growth", 24_900),
            start: now(),
        });
        let of_double = clock.clone();
        let double = StripeDouble::new(3, move || of_double.now());
        double.put(&life);
        let store = MemoryStore::new(Sharing::Whole);
        for number in [1, 2] {
            let made = organization(number);
            run(store.create_organization(&made, audit("organization.create"))).expect("made");
        }
        Self { store, clock, double, life }
    }

    fn start(&self, asking: Asking, config: &Config) -> Sim<MemoryStore> {
        Sim::start(&self.store, &self.clock, &self.double, asking, config)
    }

    /// Organization 1 is a customer with a report in progress.
    fn with_report(self) -> Self {
        let id = organization_id(1);
        let patch = OrganizationPatch {
            stripe_customer_id: Some(Some("cus_1".into())),
            ..OrganizationPatch::default()
        };
        run(self.store.patch_organization(id, patch, audit("organization.update")))
            .expect("linked");
        run(self.store.lease(id, node(1), &ask(None, 0, 100), now())).expect("leased");
        run(self.store.settle(settlement(1, 1), now())).expect("settled");
        let service = Period { start: Timestamp::default(), end: Timestamp::MAX };
        let rule = SealRule { mode: ReportMode::Total, included: 0, service, in_force: None };
        self.clock.advance(Duration::from_secs(3_600));
        assert_eq!(run(self.store.seal(id, rule, self.clock.now())).expect("sealed"), 1);
        self
    }

    fn identifier(&self) -> String {
        let all = Period { start: now().minus(Duration::from_secs(86_400)), end: Timestamp::MAX };
        let reports = run(self.store.reports(organization_id(1), all)).expect("read");
        reports[0].sealed.identifier.clone()
    }

    /// Alerts of meter errors.
    fn alerts(&self, number: u8) -> Vec<Alert> {
        let mut all = run(self.store.alerts(organization_id(number), 9)).expect("read");
        all.retain(|alert| alert.kind == AlertKind::MeterError);
        all
    }

    fn state_of(&self, event: &Value) -> DeliveryState {
        let id = event["id"].as_str().expect("an id");
        run(self.store.event(id)).expect("read").expect("it is kept").state
    }

    /// The thin event about meter errors, as delivered.
    fn thin(&self) -> Value {
        let mut life = self.life.clone();
        life.wait(self.clock.now().since(life.now()));
        life.report_meter_errors();
        let event = life.events().last().expect("an event").clone();
        assert!(event.get("data").is_none(), "Stripe delivers none: {event}");
        event
    }
}

fn deliver(process: &Sim<MemoryStore>, event: &Value) {
    assert_eq!(run(process.deliver(event.to_string().as_bytes())), 200);
    process.later.finish();
}

#[test]
fn meter_errors_are_fetched_and_alert_the_organizations_they_name() {
    let world = World::new().with_report();
    let thin = world.thin();
    let named = world.identifier();
    let data = meter_error_report(&[&named, "somebody-elses"], world.clock.now());
    world.double.put_event(fetched(&thin, data));
    let process = world.start(Asking::Online, &config());
    deliver(&process, &thin);
    let alerts = world.alerts(1);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!((alerts[0].kind, &alerts[0].subject), (AlertKind::MeterError, &named));
    assert_eq!(alerts[0].details["code"], "meter_event_no_customer_defined");
    assert_eq!(world.alerts(2), []);
    assert_eq!(world.state_of(&thin), DeliveryState::Done);
    deliver(&process, &thin);
    assert_eq!(world.alerts(1).len(), 1, "once");
}

#[test]
fn meter_errors_without_a_name_alert_all_that_reported_usage() {
    for (asking, data) in [
        (Asking::Offline, None),
        (Asking::Online, None),
        (Asking::Online, Some(meter_error_report(&["somebody-elses"], now()))),
    ] {
        let world = World::new().with_report();
        let thin = world.thin();
        if let Some(data) = data {
            world.double.put_event(fetched(&thin, data));
        }
        let process = world.start(asking, &config());
        deliver(&process, &thin);
        let alerts = world.alerts(1);
        assert_eq!(alerts.len(), 1, "{asking:?}: {alerts:?}");
        assert_eq!(alerts[0].kind, AlertKind::MeterError);
        assert_eq!(alerts[0].subject, thin["id"].as_str().expect("an id"));
        assert_eq!(world.alerts(2), [], "it reported no usage");
        assert_eq!(world.state_of(&thin), DeliveryState::Done);
    }
}

#[test]
fn meter_errors_wait_while_stripe_is_away() {
    let world = World::new().with_report();
    let thin = world.thin();
    world.double.put_event(fetched(&thin, meter_error_report(&[&world.identifier()], now())));
    let away = Period { start: now(), end: world.clock.now().plus(Duration::from_secs(60)) };
    world.double.set_outage(Some(away));
    let process = world.start(Asking::Online, &config());
    deliver(&process, &thin);
    assert_eq!((world.state_of(&thin), world.alerts(1)), (DeliveryState::Pending, Vec::new()));
    world.clock.advance(Duration::from_secs(3_600));
    run(process.gateway.process_due_events());
    assert_eq!((world.state_of(&thin), world.alerts(1).len()), (DeliveryState::Done, 1));
}

#[test]
fn an_event_of_the_other_mode_has_no_effect_even_replayed() {
    let world = World::new();
    let mut wanted = config();
    wanted.stripe.livemode = Some(true);
    let process = world.start(Asking::Offline, &wanted);
    for event in world.life.events() {
        deliver(&process, event);
        assert_eq!(world.state_of(event), DeliveryState::Ignored);
        run(world.store.replay(event["id"].as_str().expect("an id"), now())).expect("replayed");
    }
    run(process.gateway.process_due_events());
    let owner = run(world.store.organization(organization_id(1))).expect("read").expect("there");
    assert_eq!((owner.purchases, owner.stripe_customer_id), (None, None));
}

#[test]
fn an_event_of_a_connected_account_has_no_effect_even_replayed() {
    let world = World::new();
    let process = world.start(Asking::Offline, &config());
    for event in world.life.events() {
        let mut event = event.clone();
        event["account"] = "acct_1NobodysBusiness".into();
        deliver(&process, &event);
        let id = event["id"].as_str().expect("an id");
        let kept = run(world.store.event(id)).expect("read").expect("it is kept");
        assert_eq!(kept.state, DeliveryState::Ignored);
        let why = kept.error.expect("it says why");
        assert!(why.contains("acct_1NobodysBusiness"), "{why}");
        run(world.store.replay(id, now())).expect("replayed");
    }
    run(process.gateway.process_due_events());
    let owner = run(world.store.organization(organization_id(1))).expect("read").expect("there");
    assert_eq!((owner.purchases, owner.stripe_customer_id), (None, None));
}

#[test]
fn many_events_of_a_customer_at_once_are_processed_serially() {
    let world = World::new();
    let process = world.start(Asking::Online, &config());
    for event in world.life.events() {
        assert_eq!(run(process.deliver(event.to_string().as_bytes())), 200);
    }
    assert!(world.life.events().len() > 3);
    process.later.finish();
    let asked = world.double.calls();
    let asked = asked.iter().filter(|call| *call == "GET /v1/subscriptions").count();
    assert!((1..=2).contains(&asked), "asked {asked} times");
    for event in world.life.events() {
        assert_eq!(world.state_of(event), DeliveryState::Done);
    }
}

#[test]
fn deliveries_are_taken_after_the_wall_clock_leapt_and_was_set_right() {
    let world = World::new();
    let process = world.start(Asking::Offline, &config());
    world.clock.leap_and_return(Duration::from_secs(3_600));
    for event in world.life.events() {
        deliver(&process, event);
        assert_eq!(world.state_of(event), DeliveryState::Done);
    }
}
