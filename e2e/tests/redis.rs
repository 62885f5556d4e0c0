//! The whole suite against a native gateway that shares its rate limits through Redis.

mod support {
    pub(crate) mod process;
    #[expect(dead_code, reason = "this test neither kills nor restarts its server")]
    pub(crate) mod server;
}

use driftlock_e2e::admin::{LIST, Organization};
use driftlock_e2e::cases::CASES;
use driftlock_e2e::runner::check;
use driftlock_testkit::redis::{Redis, on_each_server};
use support::server::Server;

/// Long, because a busy machine delays the server.
const LENIENT: &str = "[limits]\nfleet_answer_ms = 5000\n";

#[test]
fn over_tls_the_certificate_must_be_known() {
    let (redis, url, certificate) = Redis::start_secure();
    let asked = || redis.ask(&["info", "commandstats"]).contains("cmdstat_evalsha:");
    let stranger = Server::start_with("", &[("ENV_REDIS_URL", &url)]);
    let target = stranger.target();
    let key = Organization::new(&target).key();
    target.keyed("GET", LIST, &key.secret).send().expect(200);
    assert!(stranger.log().contains("Redis unavailable"), "{}", stranger.log());
    assert!(!asked(), "nothing was sent to a server without a valid certificate");
    let certificate = certificate.display().to_string();
    let server =
        Server::start_with(LENIENT, &[("ENV_REDIS_URL", &url), ("SSL_CERT_FILE", &certificate)]);
    let target = server.target();
    let key = Organization::new(&target).key();
    target.keyed("GET", LIST, &key.secret).send().expect(200);
    assert!(asked(), "{}", server.log());
}

#[test]
fn with_redis_the_gateway_does_what_it_must() {
    on_each_server(|| {
        let redis = Redis::start();
        let server = Server::start_with(LENIENT, &[("ENV_REDIS_URL", &redis.url())]);
        let passed = check(&server.target(), CASES);
        let statistics = redis.ask(&["info", "commandstats"]);
        let checks =
            statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        let checks = checks.and_then(|rest| rest.split(',').next()).and_then(|n| n.parse().ok());
        assert!(checks > Some(CASES.len()), "{passed}, Redis was asked: {statistics}");
    });
}
