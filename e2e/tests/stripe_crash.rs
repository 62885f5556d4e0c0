//! I6 through `kill -9`: events are delivered while the gateway is killed repeatedly. All are
//! stored and processed, and none has its effect twice.
//!
//! `DRIFTLOCK_CRASHES` sets how often it is killed; 5 unless set. The times depend on the clock and
//! are printed.

#[path = "support"]
mod support {
    pub(crate) mod customers;
    pub(crate) mod process;
    pub(crate) mod server;
}

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use driftlock_domain::stripe::sample::{ApiShape, Scenario};
use driftlock_e2e::life::now;
use driftlock_e2e::poll::eventually;
use driftlock_testkit::stripe::{Endpoint, StripeDouble};
use support::customers::{Customer, are_as_stripe_has_them};
use support::server::Server;

const EVENTS: usize = 1_000;
/// How long ago a customer life begins, so that all its events are in the past.
const AGO: Duration = Duration::from_secs(45 * 86_400);
const RETRY: Duration = Duration::from_millis(5);

#[test]
fn events_survive_kill_9_and_have_their_effect_once() {
    let crashes = std::env::var("DRIFTLOCK_CRASHES").ok().and_then(|text| text.parse().ok());
    let crashes: usize = crashes.unwrap_or(5);
    let mut server = Server::start("");
    let target = server.target();
    let double = StripeDouble::new(1, now);
    double.add_endpoint(Endpoint {
        address: server.listen.clone(),
        path: "/webhooks/stripe".to_owned(),
        secrets: vec![server.webhook_secret()],
        api_version: ApiShape::Basil,
    });
    let (mut customers, mut events_total) = (Vec::new(), 0);
    for (seed, scenario) in (1..).zip(Scenario::ALL.into_iter().cycle()) {
        if events_total >= EVENTS {
            break;
        }
        let customer = Customer::new(&target, seed, AGO, |params| scenario.life(params));
        events_total += customer.life.events().len();
        double.put(&customer.life);
        customers.push(customer);
    }
    deliver_while_it_dies(&mut server, &double, events_total, crashes);
    // The last acknowledged events may not be processed yet: they must survive, too.
    server.kill();
    server.restart();

    let events = are_as_stripe_has_them(&target, &customers);
    assert_eq!(events, events_total, "each event is made once");
    customers.iter().for_each(is_subscribed_once);
    let deliveries = double.deliveries();
    eprintln!("{events_total} events, {} customers, {} crashes", customers.len(), crashes + 1);
    eprintln!("{deliveries:?}");
}

/// The double delivers, and repeats deliveries that were not acknowledged, while the gateway is
/// killed at arbitrary times.
fn deliver_while_it_dies(
    server: &mut Server,
    double: &StripeDouble,
    deliveries: usize,
    crashes: usize,
) {
    let is_over = AtomicBool::new(false);
    let acknowledged = || usize::try_from(double.taken()).expect("they can be counted");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut before = 0;
            while double.deliver() && !is_over.load(Ordering::SeqCst) {
                if double.taken() == before {
                    // The gateway may not be running.
                    thread::park_timeout(RETRY);
                }
                before = double.taken();
            }
        });
        let over = Over(&is_over);
        for crash in 1..=crashes {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            let most = deliveries * crash / (crashes + 1);
            let least = deliveries * (crash - 1) / (crashes + 1);
            let at = least + since.subsec_nanos() as usize % (most - least).max(1);
            eventually("so many are acknowledged", || (acknowledged() >= at).then_some(()));
            thread::park_timeout(Duration::from_micros(u64::from(since.subsec_nanos()) % 5_000));
            eprintln!("killed after {} events", acknowledged());
            server.kill();
            server.restart();
        }
        eventually("all are acknowledged", || (acknowledged() == deliveries).then_some(()));
        drop(over);
    });
}

/// The double stops when the test fails: a scope waits for its threads.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asserts that the sign-up was audited once, in an audit log that verifies.
fn is_subscribed_once(customer: &Customer<'_>) {
    let rows = customer.organization.audit();
    let count = rows.iter().filter(|row| row["action"] == "billing.subscribed").count();
    assert_eq!(count, 1, "{rows:?}");
    let verdict = customer.organization.admin("GET", "/audit/verify").send().expect(200).json();
    assert_eq!(verdict["ok"], true, "{verdict}");
}
