//! I6 over HTTP: the double of Stripe delivers the events of customer lives to the gateway's
//! endpoint: signed, out of order, duplicated, late and cut off, and again until accepted, while
//! the gateway is killed. In the end the gateway shows the double's state.

#[path = "support"]
mod support {
    pub(crate) mod customers;
    pub(crate) mod process;
    #[expect(dead_code, reason = "this server's environment is the test's own")]
    pub(crate) mod server;
}

use std::thread;
use std::time::Duration;

use driftlock_domain::stripe::sample::{ApiShape, Entropy, Life, Start};
use driftlock_e2e::life::now;
use driftlock_e2e::poll::eventually;
use driftlock_testkit::stripe::{Endpoint, PAUSE_SECS_MAX, SECRET_KEY, StripeDouble, serve};
use driftlock_testkit::stripe::{something_happens, time_passes};
use support::customers::{Customer, are_as_stripe_has_them};
use support::server::Server;

const LIVES: u64 = 24;
const DEEDS: u32 = 12;
/// Actions before the one during which the gateway is killed.
const CALM: u32 = DEEDS / 2;
/// How long ago a life begins, so that all its events are in the past.
const AGO: Duration = Duration::from_secs((DEEDS as u64 + 1) * PAUSE_SECS_MAX as u64);
const OLD_SECRET: &str = "whsec_before_the_rotation_0123456789";

#[test]
fn a_gateway_that_asks_comes_to_stripes_state() {
    let double = StripeDouble::new(7, now);
    let served = serve(double.clone());
    let base = format!("http://{}", served.address);
    let environment =
        [("ENV_STRIPE_SECRET_KEY", SECRET_KEY), ("ENV_STRIPE_API_BASE", base.as_str())];
    live(&double, &environment);
    let asked = double.calls().iter().filter(|call| *call == "GET /v1/subscriptions").count();
    assert!(asked > 0, "{:?}", double.calls());
}

#[test]
fn a_gateway_that_knows_only_events_comes_to_stripes_state() {
    let double = StripeDouble::new(8, now);
    live(&double, &[]);
    assert_eq!(double.calls(), [""; 0]);
}

fn live(double: &StripeDouble, environment: &[(&str, &str)]) {
    let mut server = Server::start_with("", environment);
    let target = server.target();
    // Two endpoints, as during a change to a newer API version: both get each event.
    for api_version in [ApiShape::Acacia, ApiShape::Basil] {
        double.add_endpoint(Endpoint {
            address: server.listen.clone(),
            path: "/webhooks/stripe".to_owned(),
            secrets: vec![OLD_SECRET.to_owned(), server.webhook_secret()],
            api_version,
        });
    }
    let born = |seed| {
        Customer::new(&target, seed, AGO, |params| {
            let (standard, mut life) = (params.price.clone(), Life::new(params));
            life.subscribe(&standard, Start::Paid);
            life
        })
    };
    let mut customers: Vec<Customer<'_>> = (0..LIVES).map(born).collect();
    let mut deeds: Vec<Entropy> = (0..LIVES).map(Entropy::new).collect();
    for deed in 0..DEEDS {
        for (Customer { life, .. }, deeds) in customers.iter_mut().zip(&mut deeds) {
            time_passes(life, deeds);
            something_happens(life, deeds);
            double.put(life);
        }
        if deed == CALM {
            deliver_while_it_dies(double, &mut server);
        }
        for _ in 0..6 {
            double.deliver();
        }
    }
    while double.deliver() {}
    // The last acknowledged events may not be processed yet.
    server.kill();
    server.restart();
    let events = are_as_stripe_has_them(&target, &customers);
    let deliveries = double.deliveries();
    assert_eq!(deliveries.fates.len(), 6, "every fate: {deliveries:?}");
    assert_eq!(deliveries.answers.keys().collect::<Vec<_>>(), [&200], "{deliveries:?}");
    assert!(deliveries.unanswered > 0, "it was away: {deliveries:?}");
    eprintln!("{LIVES} lives, {events} events, {deliveries:?}");
}

fn deliver_while_it_dies(double: &StripeDouble, server: &mut Server) {
    thread::scope(|scope| {
        let before = double.taken();
        let delivering = scope.spawn(|| {
            for _ in 0..40 {
                double.deliver();
            }
        });
        eventually("some are taken", || (double.taken() > before + 10).then_some(()));
        server.kill();
        delivering.join().expect("it delivers in vain");
    });
    // The gateway is not running; the double delivers again.
    double.deliver();
    server.restart();
}
