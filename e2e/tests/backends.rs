//! Backends that fail under load: every client gets an answer, and only successes are charged.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "each test uses the manners that it is about")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use driftlock_e2e::admin::{DETECT, Key, Organization};
use driftlock_e2e::raw;
use driftlock_e2e::target::Target;
use serde_json::json;
use support::backend::{Backend, Manner};
use support::gateway::Gateway;
use support::process::free_address;

const CLIENTS: usize = 8;
const REQUESTS: usize = 25;
/// Head timeout for a backend that never answers: each of its requests takes this long.
const QUICK: &str = "[timeouts]\nbackend_head_ms = 200\n";
/// For two backends of which one never answers: the other one needs less, on a busy machine too.
const PATIENT: &str = "[timeouts]\nbackend_head_ms = 2000\n";
/// Head timeout for backends that answer or do not run.
const DEFAULTS: &str = "";

/// What clients saw, by status, and how many units were charged for it.
fn load(gateway: &Gateway) -> (BTreeMap<u16, u64>, u64) {
    load_by(gateway, |_, key| key.detect().status)
}

/// The same with this way to make a request.
fn load_by(
    gateway: &Gateway,
    ask: impl Fn(&Target, &Key<'_>) -> u16 + Sync,
) -> (BTreeMap<u16, u64>, u64) {
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 100_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 100_000}));
    let run = |key: &Key<'_>| (0..REQUESTS).map(|_| ask(&target, key)).collect::<Vec<_>>();
    let mut seen = BTreeMap::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| run(&key))).collect();
        for status in clients.into_iter().flat_map(|client| client.join().expect("no panic")) {
            *seen.entry(status).or_default() += 1;
        }
    });
    (seen, organization.units())
}

fn one(manner: Manner, config: &str) -> (BTreeMap<u16, u64>, u64) {
    let backend = Backend::start();
    backend.set(manner);
    load(&Gateway::start(config, &backend.url))
}

fn print_outcome(what: &str, (seen, charged): &(BTreeMap<u16, u64>, u64)) {
    let statuses = seen.iter().map(|(status, count)| format!("{status} × {count}"));
    let statuses: Vec<_> = statuses.collect();
    eprintln!("| {what} | {} | {charged} |", statuses.join(", "));
}

#[test]
fn what_is_charged_is_what_succeeded() {
    let all = (CLIENTS * REQUESTS) as u64;
    eprintln!("| backend | clients saw | units charged |\n|---|---|---|");
    let away = load(&Gateway::start(DEFAULTS, &format!("http://{}", free_address())));
    print_outcome("away", &away);
    assert_eq!(away, (BTreeMap::from([(502, all)]), 0));
    for (name, manner, config, status) in [
        ("resets", Manner::Resets, DEFAULTS, 502),
        ("ends mid-head", Manner::HalfHead, DEFAULTS, 502),
        ("stalls", Manner::Stalls, QUICK, 504),
        ("fails", Manner::Fails, DEFAULTS, 500),
    ] {
        let outcome = one(manner, config);
        print_outcome(name, &outcome);
        assert_eq!(outcome, (BTreeMap::from([(status, all)]), 0));
    }
    let cut = Backend::start();
    cut.set(Manner::HalfBody);
    let cut = load_by(&Gateway::start(DEFAULTS, &cut.url), |target, key| {
        let authorization = format!("Bearer {}", key.secret);
        let head = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "text/plain"),
            ("Content-Length", "1"),
        ];
        let body = std::iter::once(b"a".to_vec());
        let answer = raw::exchange(target, &format!("POST {DETECT} HTTP/1.1"), &head, body);
        assert_eq!(answer.text(), "{\"half\":", "it is passed on as far as it came");
        answer.status
    });
    print_outcome("ends mid-body", &cut);
    assert_eq!(cut, (BTreeMap::from([(200, all)]), all), "the head had left, settled");
    let flaky = one(Manner::FailsHalfTheTime, DEFAULTS);
    print_outcome("50 % errors", &flaky);
    assert_eq!(flaky.0.keys().copied().collect::<Vec<_>>(), [200, 500]);
    assert_eq!(flaky.0[&200], flaky.1, "each success, once");

    let (well, dead) = (Backend::start(), free_address());
    let outcome = load(&Gateway::start(DEFAULTS, &format!("{},http://{dead}", well.url)));
    print_outcome("one of two dead", &outcome);
    assert_eq!(outcome, (BTreeMap::from([(200, all)]), all), "no client noticed");
}

/// One of two backends is lost while both are busy: its requests get an error, the others continue.
#[test]
fn one_of_two_is_lost_under_load() {
    for (name, manner, status) in
        [("one of two resets under load", Manner::Resets, 502), ("stalls", Manner::Stalls, 504)]
    {
        let (well, lost) = (Backend::start(), Backend::start());
        let gateway = Gateway::start(PATIENT, &format!("{},{}", well.url, lost.url));
        let (seen, charged) = thread::scope(|scope| {
            scope.spawn(|| {
                while lost.seen().len() < CLIENTS {
                    thread::sleep(Duration::from_millis(1));
                }
                lost.set(manner);
            });
            load(&gateway)
        });
        print_outcome(name, &(seen.clone(), charged));
        let failed = seen.get(&status).copied().unwrap_or_default();
        assert_eq!(seen[&200] + failed, (CLIENTS * REQUESTS) as u64, "{seen:?}");
        assert!((1..=2 * CLIENTS as u64 + 3).contains(&failed), "{seen:?}: then it is left out");
        assert_eq!(charged, seen[&200], "each success, once");
    }
}
