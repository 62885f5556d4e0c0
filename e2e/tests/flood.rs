//! A flood without keys from one address gets 429, and requests with keys from the same address
//! still succeed.

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

/// Every request without a valid key counts: a known path, an unknown one, another method or root.
#[test]
fn a_flood_without_keys_is_429_and_keyed_traffic_goes_on() {
    let backend = Backend::start();
    let gateway = Gateway::start(CONFIG, &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000}));
    key.get(LIST).expect(200);
    let wrong = "Bearer some-unknown-key";
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
    // Errors of a valid key do not count against the address.
    key.get("/api/v1/nothing").problem(404, "not-found");
    target.request("GET", "/healthz").send().expect(200);
    target.request("GET", "/readyz").send().expect(200);
    assert_eq!(organization.units(), 0);
}

/// Harmless requests without a key are bounded, too.
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

/// A backend that does not run, and a client that keeps sending: the log has a few lines, then
/// their number.
#[test]
fn a_flood_of_faults_is_a_few_lines_in_the_log() {
    let unused = format!("http://{}", support::process::free_address());
    let gateway = Gateway::start("", &unused);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000}));
    for _ in 0..300 {
        key.get(LIST).problem(502, "backend-unreachable");
    }
    let lines = |log: &str| log.matches("a request failed").count();
    let written = lines(&gateway.log());
    assert!((10..=40).contains(&written), "{written} lines of 300");
    let suppressed = eventually("suppressed lines are reported", || {
        let log = gateway.log();
        let report = log.lines().find(|line| line.contains("suppressed log lines"));
        report.map(str::to_owned)
    });
    assert!(suppressed.contains("lines=") && suppressed.contains("a request failed"));
}
