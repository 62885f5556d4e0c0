//! The cost of PostgreSQL as store: round trips per request, throughput and p99 of metered requests
//! compared with SQLite in one run, and what a million keys and millions of usage rows add to a
//! request.
//!
//! `cargo xtask bench fleet` runs it. `DRIFTLOCK_USAGE_ROWS` (50,000,000) and `DRIFTLOCK_KEYS`
//! (1,000,000) set the size of the full database; `DRIFTLOCK_BENCH_FOLDER` its folder.

#![expect(clippy::print_stdout, reason = "figures on standard output are what it is for")]

#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "nothing dies here")]
    pub(crate) mod fleet;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod metered;
    pub(crate) mod process;
}
mod fill;
mod load;

use std::time::{Duration, Instant};

use driftlock_e2e::admin::Organization;
use driftlock_e2e::target::Target;
use driftlock_testkit::postgres::Cluster;
use fill::{MEASURED, PRODUCTION, filled, secret};
use load::{Answered, during, one_by_one};
use serde_json::json;
use support::backend::Backend;
use support::fleet::Fleet;
use support::gateway::Gateway;
use support::metered::Client;

const CLIENTS: usize = 64;
const ROUNDS: usize = 5;
const LENGTH: Duration = Duration::from_secs(5);
/// Keys that are each requested once.
const COLD: u64 = 5_000;
const CONFIG: &str = "[limits]\naddress_requests_per_minute = 1000000\n\
                      address_ceiling_per_minute = 1000000000\n";

fn key(target: &Target) -> String {
    let quota = json!({ "quota": { "included": 2_000_000_000 } });
    let organization = Organization::with(target, quota);
    organization.key_with(json!({ "requests_per_minute": 1_000_000_000 })).secret
}

#[test]
fn what_postgresql_behind_costs() {
    let backend = Backend::start();
    beside_sqlite(&backend);
    let (keys, rows) =
        (number("DRIFTLOCK_KEYS", 1_000_000), number("DRIFTLOCK_USAGE_ROWS", 50_000_000));
    println!("\na database with {COLD} keys and no usage");
    let empty = cost_of(&backend, COLD, 0);
    println!("a database with {keys} keys and {rows} usage rows");
    let full = cost_of(&backend, keys, rows);
    println!(
        "full / empty: key looked up {:.2}, metered {:.2}",
        full.0 / empty.0,
        full.1 / empty.1
    );
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().expect("a number"))
}

/// Rounds of both stores alternate, so that other load on the machine affects both.
fn beside_sqlite(backend: &Backend) {
    let fleet = Fleet::start_on(Cluster::start_with(&PRODUCTION), 1, CONFIG, &backend.url);
    let embedded = Gateway::start(CONFIG, &backend.url);
    let (shared_key, own_key) = (key(&fleet.target(0)), key(&embedded.target()));
    let shared = || Client::new(fleet.listen(0), &shared_key);
    let own = || Client::new(embedded.address(), &own_key);
    let (mut shared_rounds, mut own_rounds) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own_rounds.push(during(LENGTH, CLIENTS, own));
        shared_rounds.push(during(LENGTH, CLIENTS, shared));
    }
    println!("metered, {CLIENTS} clients, median of {ROUNDS} rounds of {LENGTH:?}, synced commits");
    println!("  SQLite      {}", median(own_rounds));
    println!("  PostgreSQL  {}", median(shared_rounds));

    println!("round trips to PostgreSQL, {CLIENTS} clients for {LENGTH:?}");
    let (metered, _) = round_trips(&fleet, "metered", || during(LENGTH, CLIENTS, shared));
    assert!(metered < METERED_MAX, "{metered} round trips per metered request");
    let free = || Client::free(fleet.listen(0), &shared_key);
    let (_, waited) = round_trips(&fleet, "free", || during(LENGTH, CLIENTS, free));
    assert_eq!(waited, 0, "free requests with a warm cache wait for no round trip");
    println!("  bounds: metered < {METERED_MAX}, free 0 that a request waits for: met");
}

fn median(mut rounds: Vec<Answered>) -> Answered {
    rounds.sort_by(|one, other| one.per_second().total_cmp(&other.per_second()));
    rounds.swap_remove(rounds.len() / 2)
}

/// Round trips that a request waits for, without the node's background work.
const WAITED_FOR: [&str; 5] = ["caller", "key_by_hash", "organization", "settle", "claim_key"];
/// All round trips of the node for metered requests without an Idempotency-Key.
const METERED_MAX: f64 = 0.1;

/// The database's own counts by function: all calls per request, and those that requests waited
/// for.
fn round_trips(fleet: &Fleet, what: &str, load: impl FnOnce() -> Answered) -> (f64, u64) {
    fleet.sql("create extension if not exists pg_stat_statements");
    fleet.sql("select pg_stat_statements_reset()");
    let answered = load();
    let query = "select substring(query from 'public.(driftlock_[a-z_]+)') as name, sum(calls) \
                 from pg_stat_statements where query like 'select public.driftlock%' \
                 group by 1 order by 2 desc";
    let calls = fleet.sql(query);
    let total: f64 =
        calls.lines().filter_map(|line| line.split_once('|')?.1.parse::<f64>().ok()).sum();
    let ratio = total / answered.count() as f64;
    println!("  {what:<8} {ratio:.4} per request ({} requests)  {answered}", answered.count());
    println!(
        "           {}",
        calls.replace('\n', ", ").replace("driftlock_", "").replace('|', " ")
    );
    let is_waited_for = |line: &&str| {
        let name = line.split('|').next().and_then(|name| name.strip_prefix("driftlock_"));
        name.is_some_and(|name| WAITED_FOR.contains(&name))
    };
    let waited = calls.lines().filter(is_waited_for);
    (ratio, waited.filter_map(|line| line.split_once('|')?.1.parse::<u64>().ok()).sum())
}

/// The cost of a request on such a database: p50 of a look-up, and the time of a metered request.
fn cost_of(backend: &Backend, keys: u64, rows: u64) -> (f64, f64) {
    let mut fleet = filled(&backend.url, CONFIG, keys, rows);
    fleet.add();
    let size = fleet.sql("select pg_size_pretty(pg_database_size(current_database()))");
    println!("  {size}");
    let listen = fleet.listen(0).to_owned();
    // A step that visits each key once, spread over all.
    let number = |n: u64| (n * 7_919) % keys;
    let cold = one_by_one((0..COLD).map(|n| Client::free(&listen, &secret(number(n)))));
    println!("  free, key looked up       {cold}");
    let warm_key = secret(256);
    let warm = during(LENGTH, CLIENTS, || Client::free(&listen, &warm_key));
    println!("  free, key remembered      {warm}");
    let metered = during(LENGTH, CLIENTS, || Client::new(&listen, &warm_key));
    println!("  metered, {CLIENTS} clients       {metered}");
    let usage = (0..50).map(|_| {
        let asked = Instant::now();
        let path = format!("/organizations/{MEASURED}/usage");
        fleet.target(0).admin("GET", &path).send().expect(200);
        asked.elapsed()
    });
    let usage: Duration = usage.sum::<Duration>() / 50;
    println!("  usage of an organization  {:.2} ms", usage.as_secs_f64() * 1e3);
    (cold.at(50), 1.0 / metered.per_second())
}
