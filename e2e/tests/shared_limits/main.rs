//! Two gateways on one Redis: a limit holds for the fleet. Without Redis each node applies its own
//! limits and logs it once, until Redis is back.

#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "the reference backend is another test's matter")]
    pub(crate) mod fleet;
    #[expect(dead_code, reason = "requests here are free, and of no one's quota")]
    pub(crate) mod metered;
    pub(crate) mod process;
}
mod limit;
mod mistakes;
mod outage;

use driftlock_e2e::admin::Organization;
use driftlock_testkit::redis::Redis;
use serde_json::json;
use support::backend::Backend;
use support::fleet::Fleet;
use support::metered::{Client, Outcome};

/// The shared parts of two gateways, in front of a backend that answers.
struct Stand {
    fleet: Fleet,
    redis: Redis,
    _backend: Backend,
}

impl Stand {
    /// Two gateways that wait so long for Redis.
    fn start(answer_ms: u32) -> Self {
        let (backend, redis) = (Backend::start(), Redis::start());
        let config = format!("[limits]\nfleet_answer_ms = {answer_ms}\n");
        let fleet = Fleet::start_before(0, &config, &backend.url);
        let mut fleet = fleet.with_redis(&redis.url());
        fleet.add();
        fleet.add();
        Self { fleet, redis, _backend: backend }
    }

    /// A new key with so many requests per minute.
    fn key(&self, per_minute: u32) -> String {
        let target = self.fleet.target(0);
        let organization = Organization::with(&target, json!({}));
        organization.key_with(json!({ "requests_per_minute": per_minute })).secret
    }

    /// A client of a gateway's free route.
    fn client(&self, node: usize, key: &str) -> Client {
        Client::free(self.fleet.listen(node), key)
    }

    /// The value of a metric of a gateway.
    fn metric(&self, node: usize, name: &str) -> u64 {
        let log = self.fleet.log(node);
        let admin = log.lines().find(|line| line.contains("admin listener"));
        let plain = admin.expect("it says where its admin listener is").rsplit("127.0.0.1:").next();
        let port: String =
            plain.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        let target = driftlock_e2e::target::Target::new(&format!("http://127.0.0.1:{port}"), "");
        let text = target.request("GET", "/metrics").send().text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
    }

    /// How many lines with this text a gateway logged.
    fn logged(&self, node: usize, words: &str) -> usize {
        self.fleet.log(node).lines().filter(|line| line.contains(words)).count()
    }
}

/// How many of so many consecutive requests succeed; the rate limit must refuse the others.
fn successes(client: &mut Client, requests: usize) -> usize {
    let mut successes = 0;
    for _ in 0..requests {
        match client.send() {
            Outcome::Success(_) => successes += 1,
            Outcome::Refused(429, Some(1..)) => {}
            outcome => panic!("{outcome:?}"),
        }
    }
    successes
}
