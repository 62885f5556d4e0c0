//! PostgreSQL refuses connections or does not answer: free requests with cached keys succeed,
//! metered ones get `Retry-After`. When PostgreSQL is back, everything works as before without a
//! restart.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::Organization;
use driftlock_e2e::poll::{eventually, within};
use serde_json::json;

use super::support::backend::Backend;
use super::support::fleet::Fleet;
use super::support::metered::{Client, Outcome};
use super::{CONFIG, lost};

/// Longer than leases, polls and retry pauses; shorter than `keys.max_stale_secs`.
const AWAY_SECS: u64 = 6;
/// Sets another length of the outage in seconds.
const AWAY_VARIABLE: &str = "DRIFTLOCK_E2E_AWAY_SECS";
/// Bound for refusing a metered request when the database accepts connections but does not answer.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A gateway has learned every change after this time (I5).
const CHANGES_KNOWN_WITHIN: Duration = Duration::from_secs(2);
const NODES: usize = 2;
/// Clients of each kind at each gateway.
const CLIENTS: usize = 3;
/// Between two requests of a client.
const PACE: Duration = Duration::from_millis(30);

struct Stand {
    fleet: Fleet,
    organization: String,
    key: String,
    _backend: Backend,
}

/// The results of the clients so far.
#[derive(Default)]
struct Load {
    is_away: AtomicBool,
    stop: AtomicBool,
    free: AtomicUsize,
    refused: AtomicUsize,
    slowest_micros: AtomicU64,
    /// Metered clients that succeeded since the database is back.
    back: AtomicUsize,
}

impl Stand {
    fn start(nodes: usize) -> Self {
        let backend = Backend::start();
        Self::of(Fleet::start_before(nodes, CONFIG, &backend.url), backend)
    }

    fn of(fleet: Fleet, backend: Backend) -> Self {
        let target = fleet.target(0);
        let quota = json!({ "quota": { "included": 1_000_000, "policy": "block" } });
        let organization = Organization::with(&target, quota);
        let key = organization.key_with(json!({ "requests_per_minute": 100_000_000 })).secret;
        let organization = organization.id;
        let made = Instant::now();
        eventually("every gateway has learned it", || {
            (made.elapsed() > CHANGES_KNOWN_WITHIN).then_some(())
        });
        Self { fleet, organization, key, _backend: backend }
    }

    fn free(&self) -> Client {
        Client::free(self.fleet.listen(0), &self.key)
    }

    fn metered(&self) -> Client {
        Client::new(self.fleet.listen(0), &self.key)
    }

    fn units(&self) -> u64 {
        let target = self.fleet.target(0);
        let usage = target.admin("GET", &format!("/organizations/{}/usage", self.organization));
        usage.send().expect(200).json()["units"].as_u64().expect("a number")
    }

    /// Waits until metered requests succeed again; returns how long it took.
    fn back(&self) -> Duration {
        let since = Instant::now();
        let mut client = self.metered();
        eventually("metered requests succeed again", || {
            matches!(client.send(), Outcome::Success(_)).then_some(())
        });
        since.elapsed()
    }
}

impl Load {
    /// Free requests succeed at all times.
    fn free(&self, mut client: Client) {
        while !self.stop.load(Ordering::Relaxed) {
            let outcome = client.send();
            assert!(matches!(outcome, Outcome::Success(_)), "a free request: {outcome:?}");
            self.free.fetch_add(1, Ordering::Relaxed);
            thread::park_timeout(PACE);
        }
    }

    /// Metered requests succeed or get `Retry-After`; returns the receipts.
    fn metered(&self, mut client: Client) -> Vec<String> {
        let (mut receipts, mut is_back) = (Vec::new(), false);
        while !self.stop.load(Ordering::Relaxed) {
            let (began, was_away) = (Instant::now(), self.is_away.load(Ordering::Acquire));
            match client.send() {
                Outcome::Success(receipt) => {
                    receipts.push(receipt);
                    is_back |= !was_away && self.refused.load(Ordering::Relaxed) > 0;
                    if is_back {
                        self.back.fetch_add(1, Ordering::Relaxed);
                        return receipts;
                    }
                }
                Outcome::Refused(503, Some(1..)) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    let micros = u64::try_from(began.elapsed().as_micros()).expect("it fits");
                    self.slowest_micros.fetch_max(micros, Ordering::Relaxed);
                }
                outcome => panic!("a metered request: {outcome:?}"),
            }
            thread::park_timeout(PACE);
        }
        receipts
    }
}

#[test]
fn with_the_database_away_free_requests_go_on() {
    let Stand { mut fleet, organization, key, _backend } = Stand::start(NODES);
    let listens: Vec<String> = (0..NODES).map(|node| fleet.listen(node).to_owned()).collect();
    for listen in &listens {
        assert!(matches!(Client::free(listen, &key).send(), Outcome::Success(_)));
    }
    let wanted =
        std::env::var(AWAY_VARIABLE).map_or(AWAY_SECS, |text| text.parse().expect("seconds"));
    let (load, metered) = (Load::default(), NODES * CLIENTS);
    let (receipts, back) = thread::scope(|scope| {
        let (load, key) = (&load, &key);
        let mut clients = Vec::new();
        for listen in &listens {
            for _ in 0..CLIENTS {
                scope.spawn(move || load.free(Client::free(listen, key)));
                clients.push(scope.spawn(move || load.metered(Client::new(listen, key))));
            }
        }
        eventually("they are under way", || {
            (load.free.load(Ordering::Relaxed) > metered).then_some(())
        });
        load.is_away.store(true, Ordering::Release);
        fleet.cluster.shut_down();
        let away = Instant::now();
        while away.elapsed() < Duration::from_secs(wanted)
            && !clients.iter().any(|c| c.is_finished())
        {
            thread::park_timeout(PACE);
        }
        fleet.cluster.boot();
        load.is_away.store(false, Ordering::Release);
        let since = Instant::now();
        eventually("metered requests succeed again, everywhere", || {
            (load.back.load(Ordering::Relaxed) == metered).then_some(())
        });
        let back = since.elapsed();
        load.stop.store(true, Ordering::Relaxed);
        let receipts: Vec<String> =
            clients.into_iter().flat_map(|client| client.join().expect("no failure")).collect();
        (receipts, back)
    });
    let slowest = Duration::from_micros(load.slowest_micros.load(Ordering::Relaxed));
    within("the slowest refusal while the database is away", slowest, Duration::from_secs(9));
    assert_eq!(lost(&fleet, &receipts), [""; 0], "acknowledged units");
    let usage = format!("/organizations/{organization}/usage");
    eventually("nothing refused is charged", || {
        let shown = fleet.target(0).admin("GET", &usage).send().expect(200).json();
        (shown["units"] == receipts.len()).then_some(())
    });
    let passed = load.free.load(Ordering::Relaxed);
    let rows = "select count(*) from audit_logs where resource = 'GET /api/v1/anomalies' and outcome = '200'";
    eventually("every request is in the audit log", || {
        let rows: usize = fleet.sql(rows).parse().expect("a number");
        (rows >= passed).then_some(())
    });
    eprintln!(
        "away {wanted} s: {passed} free requests passed at {NODES} gateways, {} metered ones were \
         refused (slowest {slowest:?}) and {} charged, back {back:?} after the database",
        load.refused.load(Ordering::Relaxed),
        receipts.len()
    );
}

/// The same with a project's REST API: one request waits for it, the others are refused at once.
#[test]
fn no_request_waits_long_for_a_silent_supabase_project() {
    let backend = Backend::start();
    let mut fleet = Fleet::start_before(0, CONFIG, &backend.url).by_rest();
    fleet.add();
    let stand = Stand::of(fleet, backend);
    let mut free = stand.free();
    assert!(matches!(free.send(), Outcome::Success(_)));
    assert!(matches!(stand.metered().send(), Outcome::Success(_)));
    let frozen = stand.fleet.project().freeze();
    let silent = Instant::now();
    thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..4 * CLIENTS).map(|_| scope.spawn(|| stand.metered().send())).collect();
        while !waiting.iter().all(thread::ScopedJoinHandle::is_finished) {
            assert!(matches!(free.send(), Outcome::Success(_)), "after {:?}", silent.elapsed());
            thread::park_timeout(PACE);
        }
        let took = silent.elapsed();
        for client in waiting {
            let outcome = client.join().expect("no client fails");
            // Leased units are admitted, and their settlement waits.
            assert!(matches!(outcome, Outcome::Refused(503, Some(1..))), "{outcome:?}");
        }
        within("all refused while the project is silent", took, SILENCE_MAX);
    });
    drop(frozen);
    stand.back();
    eventually("nothing refused is charged", || (stand.units() == 2).then_some(()));
}

#[test]
fn no_request_waits_long_for_a_silent_database() {
    let stand = Stand::start(1);
    let (mut free, mut metered) = (stand.free(), stand.metered());
    assert!(matches!(free.send(), Outcome::Success(_)));
    assert!(matches!(metered.send(), Outcome::Success(_)));
    let frozen = stand.fleet.cluster.freeze();
    let silent = Instant::now();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| metered.send());
        let mut worst = Duration::ZERO;
        while !waiting.is_finished() {
            let began = Instant::now();
            assert!(matches!(free.send(), Outcome::Success(_)), "after {:?}", silent.elapsed());
            worst = worst.max(began.elapsed());
            thread::park_timeout(Duration::from_millis(10));
        }
        let outcome = waiting.join().expect("no client fails");
        assert!(matches!(outcome, Outcome::Refused(503, Some(1..))), "{outcome:?}");
        within("refused while the database is silent", silent.elapsed(), SILENCE_MAX);
        within("the slowest free request while the database is silent", worst, SILENCE_MAX);
    });
    drop(frozen);
    let back = stand.back();
    eventually("nothing refused is charged", || (stand.units() == 2).then_some(()));
    eprintln!("back {back:?} after the database");
}
