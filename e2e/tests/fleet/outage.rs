//! PostgreSQL is away, refusing or silent: free requests with remembered keys go on, metered ones are
//! told when to come again, and everything is as before when it is back, without a restart.

use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::Organization;
use driftlock_e2e::poll::eventually;
use serde_json::json;

use super::CONFIG;
use super::support::backend::Backend;
use super::support::fleet::Fleet;
use super::support::metered::{Client, Outcome};

/// Longer than leases, polls and rests last; shorter than what is remembered.
const AWAY_SECS: u64 = 6;
/// Seconds to be away instead.
const AWAY_VARIABLE: &str = "DRIFTLOCK_E2E_AWAY_SECS";
/// Within this a metered request is refused when the database only stays silent.
const SILENCE_MAX: Duration = Duration::from_secs(20);

struct Stand {
    fleet: Fleet,
    organization: String,
    key: String,
    _backend: Backend,
}

impl Stand {
    fn start() -> Self {
        let backend = Backend::start();
        let fleet = Fleet::start_before(1, CONFIG, &backend.url);
        let target = fleet.target(0);
        let quota = json!({ "quota": { "included": 1_000_000, "policy": "block" } });
        let organization = Organization::with(&target, quota);
        let key = organization.key_with(json!({ "requests_per_minute": 100_000_000 })).secret;
        let organization = organization.id;
        fleet.all_told();
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

    /// Metered requests succeed again; how long it took.
    fn back(&self) -> Duration {
        let since = Instant::now();
        let mut client = self.metered();
        eventually("metered requests succeed again", || {
            matches!(client.send(), Outcome::Success(_)).then_some(())
        });
        since.elapsed()
    }
}

#[test]
fn with_the_database_away_free_requests_go_on() {
    let mut stand = Stand::start();
    let (mut free, mut metered) = (stand.free(), stand.metered());
    assert!(matches!(free.send(), Outcome::Success(_)));
    assert!(matches!(metered.send(), Outcome::Success(_)));
    let mut acknowledged = 1;
    stand.fleet.cluster.shut_down();
    let wanted =
        std::env::var(AWAY_VARIABLE).map_or(AWAY_SECS, |text| text.parse().expect("seconds"));
    let (away, mut refused, mut passed, mut slowest) = (Instant::now(), 0, 0, Duration::ZERO);
    while away.elapsed() < Duration::from_secs(wanted) {
        let began = Instant::now();
        match metered.send() {
            Outcome::Refused(503, Some(1..)) => refused += 1,
            outcome => panic!("{outcome:?}"),
        }
        slowest = slowest.max(began.elapsed());
        assert!(matches!(free.send(), Outcome::Success(_)), "after {:?}", away.elapsed());
        passed += 1;
        thread::park_timeout(Duration::from_millis(10));
    }
    assert!(slowest < Duration::from_secs(4), "refused without a queue: {slowest:?}");
    stand.fleet.cluster.boot();
    let back = stand.back();
    acknowledged += 1;
    eventually("nothing refused is charged", || (stand.units() == acknowledged).then_some(()));
    let rows = "select count(*) from audit_logs where resource = 'GET /api/v1/anomalies' and outcome = '200'";
    eventually("every request is in the audit log", || {
        let rows: usize = stand.fleet.sql(rows).parse().expect("a number");
        (rows > passed).then_some(())
    });
    eprintln!(
        "away {wanted} s: {passed} free requests passed, {refused} metered ones refused (slowest \
         {slowest:?}), back {back:?} after the database"
    );
}

#[test]
fn with_the_database_silent_nobody_waits_for_long() {
    let stand = Stand::start();
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
        assert!(silent.elapsed() < SILENCE_MAX, "{:?}", silent.elapsed());
        eprintln!(
            "silent: refused after {:?}; free requests took {worst:?} at worst",
            silent.elapsed()
        );
    });
    drop(frozen);
    let back = stand.back();
    eventually("nothing refused is charged", || (stand.units() == 2).then_some(()));
    eprintln!("back {back:?} after the database");
}
