//! I7 over a month in virtual time: three organizations use a million units while the gateway
//! crashes and Stripe fails, refuses repetitions and is away for 30 hours. In the end Stripe has
//! exactly the units that were counted.

use std::time::Duration;

use bytes::Bytes;
use driftlock_domain::config::Config;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::invoice::{lines, total_cents};
use driftlock_domain::lease::LeaseAsk;
use driftlock_domain::organization::Organization;
use driftlock_domain::period::Period;
use driftlock_domain::quota::Quota;
use driftlock_domain::stripe::sample::{ApiShape, Entropy, Life, LifeParams, SamplePrice, Start};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::Settlement;
use driftlock_gateway::Listener;
use driftlock_gateway::ports::{Clock, Directory, Ledger, Page, UsageReports};
use driftlock_sqlite::{Options, SqliteStore};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{audit, node, now, organization, settlement, usage};
use driftlock_testkit::sim::{Asking, Sim, config, run, run_for};
use driftlock_testkit::stripe::{Fault, Faults, SECRET_KEY, StripeDouble};

const HOUR: Duration = Duration::from_secs(3_600);
const HOURS: u64 = 720;
/// What each organization uses in the month; a million in all.
const UNITS: [u64; 3] = [275_000, 425_000, 300_000];

struct Customer {
    owner: Organization,
    life: Life,
    left: u64,
}

#[test]
fn a_million_units_reach_stripe_exactly() {
    let directory = tempfile::tempdir().expect("a directory");
    let options =
        Options { durability: driftlock_domain::config::Durability::Process, ..Options::default() };
    let store = SqliteStore::open(&directory.path().join("a.db"), options).expect("opened");
    let clock = VirtualClock::at(now().floor_to(3_600).plus(Duration::from_secs(90)));
    let double = StripeDouble::new(1, {
        let clock = clock.clone();
        move || clock.now()
    });
    let start = || Sim::start(&store, &clock, &double, Asking::Online, &config());
    let mut customers: Vec<Customer> = (1..)
        .zip(UNITS)
        .map(|(number, units)| sign_up(&start(), &store, &double, number, units, &clock))
        .collect();
    let period = customers[0].life.subscriptions()[0].period;
    let away = clock.now().plus(HOUR * 240);
    double.set_outage(Some(Period { start: away, end: away.plus(30 * HOUR) }));
    double.set_faults(Faults::of(
        7,
        150,
        vec![
            Fault::Before(500),
            Fault::After(500),
            Fault::Before(429),
            Fault::After(503),
            Fault::BreakBefore,
            Fault::BreakAfter,
        ],
    ));

    let (mut entropy, mut sim, mut crashes, mut number) = (Entropy::new(3), start(), 0, 0);
    for hour in 0..HOURS {
        for customer in &mut customers {
            let share =
                if hour + 1 == HOURS { customer.left } else { customer.left / (HOURS - hour) };
            use_units(&store, customer, share, period, &clock, &mut number, &mut entropy);
        }
        clock.advance(
            HOUR.min(period.end.since(clock.now()).saturating_sub(Duration::from_millis(1))),
        );
        if entropy.below(3) == 0 {
            let _ = run_for(entropy.below(3_000), sim.gateway.report_usage());
            sim = start();
            crashes += 1;
        } else {
            run(sim.gateway.report_usage());
        }
    }
    let mut rounds = 0;
    while !run(store.reporting(clock.now(), Page { after: None, limit: 9 }))
        .expect("read")
        .is_empty()
        || rounds < 3
    {
        clock.advance(HOUR);
        run(sim.gateway.report_usage());
        rounds += 1;
        assert!(rounds < 100, "it never ends");
    }
    double.set_faults(Faults::none());
    check(&store, &double, &customers, period);
    compared_clean(&sim);
    let events = double.meter_events();
    let calls = double.calls().iter().filter(|call| call.ends_with("/meter_events")).count();
    let compared = double.calls().iter().filter(|call| call.ends_with("/event_summaries")).count();
    eprintln!(
        "{} units in {} meter events by {calls} calls; {crashes} crashes, {compared} comparisons, \
         done {rounds} h after the end",
        events.iter().map(|event| event.value).sum::<i64>(),
        events.len(),
    );
    assert!(crashes > 100 && compared > 0 && calls > events.len() + 100, "it was a hard month");
}

/// Stripe finalizes an invoice an hour after its period ended, unless configured otherwise: "All
/// invoices have a default finalization grace period of 1 hour" (docs.stripe.com, "Configure an
/// invoice finalization grace period").
#[test]
fn the_last_bucket_is_sent_before_the_invoice_is_final() {
    let directory = tempfile::tempdir().expect("a directory");
    let store =
        SqliteStore::open(&directory.path().join("a.db"), Options::default()).expect("opened");
    let clock = VirtualClock::at(now().floor_to(3_600).plus(Duration::from_secs(90)));
    let double = StripeDouble::new(1, {
        let clock = clock.clone();
        move || clock.now()
    });
    let sim = Sim::start(&store, &clock, &double, Asking::Online, &config());
    let mut customer = sign_up(&sim, &store, &double, 1, 275_000, &clock);
    let period = customer.life.subscriptions()[0].period;
    let (mut number, mut entropy) = (0, Entropy::new(5));
    clock.advance(HOUR * 240);
    use_units(&store, &mut customer, 260_000, period, &clock, &mut number, &mut entropy);
    // Up to the very last instant of the period.
    clock.advance(period.end.since(clock.now()).saturating_sub(Duration::from_micros(1)));
    use_units(&store, &mut customer, 15_000, period, &clock, &mut number, &mut entropy);
    let mut waited = Duration::ZERO;
    while double.metered(customer.life.customer(), period) < 275_000 {
        clock.advance(Duration::from_secs(10));
        waited += Duration::from_secs(10);
        assert!(waited < HOUR, "the invoice is final by now");
        run(sim.gateway.report_usage());
    }
    assert!(waited <= Duration::from_secs(60), "sent before the end of the hour: {waited:?}");
    let last = double.meter_events().into_iter().map(|event| event.timestamp).max();
    assert!(last < Some(period.end), "stamped inside the period: {last:?}");
    assert_eq!(preview(&double, &customer), 13_650, "and it is on the invoice");
}

fn sign_up(
    sim: &Sim<SqliteStore>,
    store: &SqliteStore,
    double: &StripeDouble,
    number: u8,
    left: u64,
    clock: &VirtualClock,
) -> Customer {
    let owner = organization(number);
    run(store.create_organization(&owner, audit("organization.create"))).expect("made");
    let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
    let mut life = Life::new(LifeParams {
        seed: number.into(),
        shape: ApiShape::Basil,
        livemode: false,
        organization: owner.id.to_string(),
        customer: None,
        price: price("standard", 4_900),
        upgrade: price("growth", 24_900),
        start: Timestamp::from_secs(clock.now().secs()),
    });
    life.subscribe(&price("standard", 4_900), Start::Paid);
    life.checkout();
    double.put(&life);
    for event in life.events() {
        assert_eq!(run(sim.deliver(event.to_string().as_bytes())), 200);
    }
    sim.later.finish();
    let linked = run(store.organization(owner.id)).expect("read").expect("there");
    assert_eq!(linked.stripe_customer_id.as_deref(), Some(life.customer()));
    Customer { owner: linked, life, left }
}

/// Units that are settled over the hour, in a few requests.
fn use_units(
    store: &SqliteStore,
    customer: &mut Customer,
    share: u64,
    period: Period,
    clock: &VirtualClock,
    number: &mut u64,
    entropy: &mut Entropy,
) {
    let id = customer.owner.id;
    let ask = LeaseAsk { terms: Terms::free(period, 250_000, None), number: 1, keep: 0, want: 1 };
    run(store.lease(id, node(1), &ask, clock.now())).expect("leased");
    let mut rest = share;
    while rest > 0 {
        let units = u32::try_from(rest.min(100 + entropy.below(400) as u64)).expect("small");
        *number += 1;
        settle(store, id, units, *number, clock.now());
        rest -= u64::from(units);
    }
    customer.left -= share;
}

fn settle(store: &SqliteStore, id: OrganizationId, units: u32, number: u64, at: Timestamp) {
    let one = settlement(1, number);
    let one = Settlement { organization: id, units, usage: usage(at, number), ..one };
    run(store.settle(one, at)).expect("settled");
}

fn check(store: &SqliteStore, double: &StripeDouble, customers: &[Customer], period: Period) {
    let config = Config::default();
    for (customer, units) in customers.iter().zip(UNITS) {
        let sums = run(store.report_sums(customer.owner.id, 9)).expect("read");
        assert_eq!(sums.len(), 1, "{sums:?}");
        let value = i64::try_from(units).expect("small");
        assert_eq!((sums[0].settled, sums[0].acknowledged), (units, value), "{:?}", sums[0]);
        assert_eq!((sums[0].open, sums[0].outstanding, sums[0].dead), (0, 0, 0));
        assert_eq!(double.metered(customer.life.customer(), period), value, "inside the period");
        let quota =
            Quota::in_force(config.plan("standard").expect("shipped"), 1, &customer.owner.quota);
        let ours = total_cents(&lines(&quota, units));
        assert_eq!(preview(double, customer), ours, "Stripe's invoice is ours");
        if units == 275_000 {
            assert_eq!(ours, 13_650, "$136.50");
        }
    }
}

/// The comparison of everything finds nothing, and the operator's gauges say so.
fn compared_clean(sim: &Sim<SqliteStore>) {
    run(sim.gateway.reconcile_and_log());
    let request = http::Request::get("/metrics").header("host", "localhost").body(Bytes::new());
    let peer = std::net::Ipv4Addr::LOCALHOST.into();
    let answer = run(sim.gateway.handle(request.expect("a request"), peer, Listener::Admin));
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let value = |name: &str| {
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("driftlock_stripe_{name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).parse::<i64>().expect("a number")
    };
    for name in ["usage_drift_units", "usage_outstanding_units", "usage_refused_units", "problems"]
    {
        assert_eq!(value(name), 0, "{text}");
    }
    assert!(value("compared_timestamp_seconds") > 0);
}

fn preview(double: &StripeDouble, customer: &Customer) -> u64 {
    let form = format!("subscription={}", customer.life.subscriptions()[0].id);
    let request = http::Request::post("/v1/invoices/create_preview")
        .header("authorization", format!("Bearer {SECRET_KEY}"))
        .header("idempotency-key", customer.life.customer())
        .body(Bytes::from(form));
    let answer = double.answer(&request.expect("a request")).expect("no fault");
    let invoice: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
    invoice["total"].as_u64().unwrap_or_else(|| panic!("no total: {invoice}"))
}
