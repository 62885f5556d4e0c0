//! The whole suite against a native gateway whose rate limits are Redis's.

mod support {
    pub(crate) mod process;
    #[expect(dead_code, reason = "this test neither kills nor restarts its server")]
    pub(crate) mod server;
}

use driftlock_e2e::cases::CASES;
use driftlock_e2e::runner::{Case, Host, run, summary};
use driftlock_testkit::redis::Redis;
use support::server::Server;

#[test]
fn with_redis_the_gateway_does_what_it_must() {
    let redis = Redis::start();
    let config = "[limits]\nfleet_answer_ms = 5000\n";
    let server = Server::start_with(config, &[("ENV_REDIS_URL", &redis.url())]);
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.holds_on(Host::Native)).collect();
    let outcomes = run(&server.target(), &cases);
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some());
    let failures: Vec<String> = failed.map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}\n{}", summary(&outcomes), failures.join("\n"));
    let statistics = redis.ask(&["info", "commandstats"]);
    let checks = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let checks = checks.and_then(|rest| rest.split(',').next()).and_then(|n| n.parse().ok());
    assert!(checks > Some(cases.len()), "Redis was asked: {statistics}");
}
