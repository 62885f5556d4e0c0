//! The cost of a durably stored Stripe delivery: deliveries and CPU time per second, and the time
//! from a delivery's first byte until it affects a request, alone and while others arrive.
//!
//! `cargo xtask bench webhooks` runs it and compares the gateway, in one run, with a writer that
//! only appends each body to a file and syncs it.

#![expect(clippy::print_stdout, reason = "figures on standard output are what it is for")]

#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}
mod figures;
mod lives;

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::Organization;
use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use figures::{Quantiles, cpu_time};
use lives::{Customer, SECRET, Signed};
use support::backend::Backend;
use support::gateway::Gateway;

/// Customers whose events are delivered concurrently.
const CUSTOMERS: usize = 1_500;
/// Customers whose effects are measured, alone and under load each.
const WATCHED: usize = 200;
const CLIENTS: usize = 16;
const CONFIG: &str = "[limits]\naddress_requests_per_minute = 1000000\n\
                      address_ceiling_per_minute = 100000000\n";

#[test]
fn what_a_delivery_costs() {
    let backend = Backend::start();
    let environment = [("ENV_STRIPE_WEBHOOK_SECRET", SECRET)];
    let gateway = Gateway::start_with(CONFIG, &backend.url, &environment);
    let target = gateway.target();
    let customers: Vec<Customer<'_>> =
        (0..).take(CUSTOMERS).map(|seed| Customer::new(&target, seed)).collect();
    let deliveries: Vec<Signed> = customers.iter().flat_map(Customer::signup).collect();
    println!("{} deliveries for {CUSTOMERS} customers, {CLIENTS} clients", deliveries.len());

    throughput(&gateway, &target, &deliveries);
    appended(&deliveries);
    println!("from a delivery's first byte to its effect on a request, {WATCHED} times:");
    println!("  alone            {}", effects(&target, 10_000));
    let (over, more) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // Duplicates cost less than new events: these are new.
                let customer = Customer::new(&target, 20_000 + more.load(Ordering::SeqCst));
                customer.signup().iter().for_each(|one| one.send(&target));
                more.fetch_add(1, Ordering::SeqCst);
            }
        });
        let times = effects(&target, 50_000);
        over.store(true, Ordering::SeqCst);
        println!("  beside {:>4} others {times}", more.load(Ordering::SeqCst));
    });
}

/// All deliveries by all clients.
fn throughput(gateway: &Gateway, target: &Target, deliveries: &[Signed]) {
    let (before, began) = (cpu_time(gateway.process_id()), Instant::now());
    let next = AtomicUsize::new(0);
    let answered: Vec<Duration> = thread::scope(|scope| {
        let client = || {
            let mut answered = Vec::new();
            while let Some(delivery) = deliveries.get(next.fetch_add(1, Ordering::SeqCst)) {
                let sent = Instant::now();
                delivery.send(target);
                answered.push(sent.elapsed());
            }
            answered
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|one| one.join().expect("it does not panic")).collect()
    });
    let kept = began.elapsed();
    eventually("everything is processed", || {
        let page = target.admin("GET", "/stripe/events?state=pending").send();
        page.expect(200).json()["data"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    let (done, count) = (began.elapsed(), deliveries.len() as f64);
    let used = cpu_time(gateway.process_id()).saturating_sub(before);
    println!(
        "kept and answered  {:>8.0} /s  {}",
        count / kept.as_secs_f64(),
        Quantiles::of(answered)
    );
    println!("processed as well  {:>8.0} /s", count / done.as_secs_f64());
    println!(
        "CPU                {:>8.0} µs/delivery, processing included",
        used.as_secs_f64() * 1e6 / count
    );
}

/// The limit of the disk: each body appended and synced, one after the other.
fn appended(deliveries: &[Signed]) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut file = fs::File::create(directory.path().join("bodies")).expect("a file");
    let began = Instant::now();
    for one in deliveries {
        file.write_all(&one.body).expect("written");
        file.sync_data().expect("synced");
    }
    let rate = deliveries.len() as f64 / began.elapsed().as_secs_f64();
    println!("append and fdatasync alone, one writer {rate:>8.0} /s");
}

/// Ends subscriptions and measures the time until a request with the customer's key is refused.
fn effects(target: &Target, seed: usize) -> Quantiles {
    let times = (seed..).take(WATCHED).map(|seed| {
        let mut customer = Customer::new(target, seed);
        customer.signup().iter().for_each(|one| one.send(target));
        let key = customer.organization.key();
        eventually("the key may", || (key.detect().status == 200).then_some(()));
        let end = customer.cancel();
        let sent = Instant::now();
        end.iter().for_each(|one| one.send(target));
        while key.detect().status != 402 {
            assert!(sent.elapsed() < Duration::from_secs(30), "it has no effect");
        }
        sent.elapsed()
    });
    Quantiles::of(times.collect())
}

/// The organization of a customer, for the module `lives`.
fn organization<'a>(target: &'a Target) -> Organization<'a> {
    Organization::with(target, serde_json::json!({ "plan": "standard" }))
}
