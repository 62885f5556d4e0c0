//! A flood without keys from one address: it is told 429, and the keyed traffic of the same address
//! goes on.

mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "this test neither limits files nor starts stores in vain")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use driftlock_e2e::admin::{LIST, Organization};
use driftlock_e2e::poll::eventually;
use serde_json::json;
use support::backend::Backend;
use support::gateway::Gateway;

const CONFIG: &str = "[limits]\naddress_requests_per_minute = 20\n[keys]\nfresh_secs = 1\n";

/// Whatever has no valid key counts: a known path, an unknown one, another method, another root.
#[test]
fn a_flood_without_keys_is_429_and_keyed_traffic_goes_on() {
    let backend = Backend::start();
    let gateway = Gateway::start(CONFIG, &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000}));
    key.get(LIST).expect(200);
    let wrong = "Bearer some-key-that-nobody-has";
    let flood = [
        ("GET", LIST, None),
        ("GET", "/api/v1/nothing", None),
        ("GET", "/api/v1/nothing", Some(wrong)),
        ("DELETE", LIST, None),
        ("GET", "/index.php", None),
    ];
    let mut statuses = Vec::new();
    for (method, path, bearer) in flood.into_iter().cycle().take(60) {
        let call = target.request(method, path);
        let call = bearer
            .map_or(call, |bearer| target.request(method, path).header("authorization", bearer));
        statuses.push(call.send().status);
        key.get(LIST).expect(200);
    }
    let limited = statuses.iter().filter(|status| **status == 429).count();
    assert!((35..=40).contains(&limited), "20 a minute pass: {statuses:?}");
    for (method, path, _) in flood {
        let refused = target.request(method, path).send();
        refused.problem(429, "rate-limited");
        assert!(refused.number("retry-after") >= 1);
    }
    // The key's own mistakes are not the address's.
    key.get("/api/v1/nothing").problem(404, "not-found");
    target.request("GET", "/healthz").send().expect(200);
    target.request("GET", "/readyz").send().expect(200);
    assert_eq!(organization.units(), 0);
}

/// What is asked without a key, however harmless, is bounded, too.
#[test]
fn questions_about_health_are_bounded() {
    let backend = Backend::start();
    let gateway = Gateway::start("[limits]\naddress_requests_per_minute = 1\n", &backend.url);
    let target = gateway.target();
    let statuses: Vec<u16> = ["/healthz", "/readyz"]
        .into_iter()
        .cycle()
        .take(30)
        .map(|path| target.request("GET", path).send().status)
        .collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
}

/// A backend that is away, and a client that goes on asking: the log says so a few times, then how
/// often.
#[test]
fn a_flood_of_faults_is_a_few_lines_in_the_log() {
    let nobody = format!("http://{}", support::process::free_address());
    let gateway = Gateway::start("", &nobody);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000}));
    for _ in 0..300 {
        key.get(LIST).problem(502, "backend-unreachable");
    }
    let lines = |log: &str| log.matches("a request failed").count();
    let written = lines(&gateway.log());
    assert!((10..=40).contains(&written), "{written} lines of 300");
    let suppressed = eventually("what was suppressed is told", || {
        let log = gateway.log();
        let told = log.lines().find(|line| line.contains("suppressed log lines"));
        told.map(str::to_owned)
    });
    assert!(suppressed.contains("lines=") && suppressed.contains("a request failed"));
}
