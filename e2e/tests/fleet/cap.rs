//! 96 clients at three gateways against a hard cap of 10,000: exactly 10,000 succeed, and at no
//! time more, also if a gateway is killed and the database restarted.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::Organization;
use driftlock_e2e::poll::eventually;
use serde_json::json;

use super::support::backend::Backend;
use super::support::fleet::Fleet;
use super::support::metered::{Client, Outcome};
use super::{CONFIG, lost};

const NODES: usize = 3;
const CLIENTS: usize = 96;
const CAP: usize = 10_000;
/// Longer than any lease: a client without a success for so long gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The results of all clients.
#[derive(Default)]
struct Load {
    successes: AtomicUsize,
    stop: AtomicBool,
}

/// Sends until the quota is used up; returns the receipts. A client that loses its gateway uses the
/// next one.
fn client(load: &Load, listens: &[String], first: usize, key: &str) -> Vec<String> {
    let (mut receipts, mut node, mut progress) = (Vec::new(), first, Instant::now());
    let mut client = Client::new(&listens[node], key);
    loop {
        match client.send() {
            Outcome::Success(receipt) => {
                load.successes.fetch_add(1, Ordering::Relaxed);
                receipts.push(receipt);
                progress = Instant::now();
            }
            Outcome::Exceeded => return receipts,
            Outcome::Held | Outcome::Refused(503, _) => pause(),
            Outcome::Gone => {
                node = (node + 1) % listens.len();
                client = Client::new(&listens[node], key);
                pause();
            }
            Outcome::Refused(status, _) => panic!("neither a success nor a denial: {status}"),
        }
        assert!(progress.elapsed() < PATIENCE, "nothing goes on");
    }
}

/// Instead of the second in `Retry-After`.
fn pause() {
    thread::park_timeout(Duration::from_millis(20));
}

/// Checks repeatedly that used and leased units together never exceed the cap.
fn watch(load: &Load, look: &impl Fn(&str) -> Result<String, String>) -> usize {
    let mut looks = 0;
    while !load.stop.load(Ordering::Relaxed) {
        let query = "select coalesce(max(l.used), 0), coalesce(max(l.used), 0) + coalesce(sum(u.units) \
             filter (where u.until > extract(epoch from clock_timestamp()) * 1000000), 0) \
             from driftlock.usage_ledgers l left join driftlock.usage_leases u using (organization_id)";
        // The database may be restarting, or no gateway has asked for units yet.
        if let Ok(row) = look(query) {
            let (used, reserved) = row.split_once('|').expect("two columns");
            let reserved: usize = reserved.parse().expect("a number");
            assert!(reserved <= CAP, "{used} used, {reserved} with what is leased");
            looks += 1;
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    looks
}

fn fleet(backend: &Backend) -> (Fleet, Vec<String>) {
    let fleet = Fleet::start_before(NODES, CONFIG, &backend.url);
    let listens = (0..NODES).map(|node| fleet.listen(node).to_owned()).collect();
    (fleet, listens)
}

#[test]
fn a_cap_holds_across_gateways() {
    let backend = Backend::start();
    let (fleet, listens) = fleet(&backend);
    let target = fleet.target(0);
    let quota = json!({ "quota": { "included": CAP, "policy": "block" } });
    let organization = Organization::with(&target, quota);
    let key = organization.key_with(json!({ "requests_per_minute": 100_000_000 }));
    let (load, began) = (Load::default(), Instant::now());
    let look = fleet.cluster.asker(&fleet.database);
    let (receipts, looks) = thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&load, &look));
        let (load, listens, key) = (&load, &listens, &key.secret);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || client(load, listens, number % NODES, key)))
            .collect();
        let receipts: Vec<String> = clients
            .into_iter()
            .flat_map(|client| client.join().expect("no client fails"))
            .collect();
        load.stop.store(true, Ordering::Relaxed);
        (receipts, watch.join().expect("never one more"))
    });
    let took = began.elapsed();
    assert_eq!(receipts.len(), CAP, "successes");
    assert_eq!(receipts.iter().collect::<HashSet<_>>().len(), CAP, "distinct receipts");
    for node in 0..NODES {
        let target = fleet.target(node);
        let shown =
            target.admin("GET", &format!("/organizations/{}/usage", organization.id)).send();
        assert_eq!(shown.expect(200).json()["units"], CAP, "node {node}");
    }
    assert_eq!(rows(&fleet), CAP, "rows of the ledger");
    eprintln!(
        "{CAP} of {CAP} units in {took:?}, {CLIENTS} clients at {NODES} gateways, {looks} looks"
    );
}

fn rows(fleet: &Fleet) -> usize {
    let query = "select count(*) from driftlock.usage_events where not voided";
    fleet.sql(query).parse().expect("a number")
}

#[test]
fn a_cap_holds_when_a_gateway_and_the_database_die() {
    let backend = Backend::start();
    let (mut fleet, listens) = fleet(&backend);
    let target = fleet.target(1);
    let quota = json!({ "quota": { "included": CAP, "policy": "block" } });
    let organization = Organization::with(&target, quota);
    let key = organization.key_with(json!({ "requests_per_minute": 100_000_000 }));
    let load = Load::default();
    // The checking thread reads the database while the fleet changes.
    let look = fleet.cluster.asker(&fleet.database);
    let (receipts, looks) = thread::scope(|scope| {
        let looking = scope.spawn(|| watch(&load, &look));
        let (load, listens, key) = (&load, &listens, &key.secret);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || client(load, listens, number % NODES, key)))
            .collect();
        reached(load, CAP / 4);
        fleet.kill(0);
        reached(load, CAP / 2);
        fleet.cluster.crash_and_restart();
        let receipts: Vec<String> = clients
            .into_iter()
            .flat_map(|client| client.join().expect("no client fails"))
            .collect();
        load.stop.store(true, Ordering::Relaxed);
        (receipts, looking.join().expect("never one more, on the way either"))
    });
    let distinct: HashSet<String> = receipts.iter().cloned().collect();
    assert_eq!(distinct.len(), receipts.len(), "distinct receipts");
    // Only requests in progress at the killed gateway may stay charged without an answer: the other
    // gateways void such settlements.
    let used = eventually("unknown settlements are resolved", || {
        let used = rows(&fleet);
        assert!(
            used <= CAP && used >= receipts.len(),
            "{used} charged, {} answered",
            receipts.len()
        );
        (used - receipts.len() <= CLIENTS / NODES).then_some(used)
    });
    assert_eq!(lost(&fleet, &receipts), [""; 0], "acknowledged units");
    assert_eq!(organization.units(), used as u64);
    let verdict = organization.admin("GET", "/audit/verify").send().expect(200).json();
    assert_eq!(verdict["ok"], true, "{verdict}");
    eprintln!(
        "cap {CAP}: {} acknowledged, {used} charged, after two deaths, {looks} looks",
        receipts.len()
    );
}

fn reached(load: &Load, successes: usize) {
    eventually("the clients get on", || {
        (load.successes.load(Ordering::Relaxed) >= successes).then_some(())
    });
}
