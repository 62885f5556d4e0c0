//! Backends that fail under load: every client gets an answer, and what is charged is what succeeded.

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

use driftlock_e2e::admin::{Key, Organization};
use serde_json::json;
use support::backend::{Backend, Manner};
use support::gateway::Gateway;
use support::process::free_address;

const CLIENTS: usize = 8;
const REQUESTS: usize = 25;
const QUICK: &str = "[timeouts]\nbackend_head_ms = 200\nbackend_connect_ms = 400\n";

/// What clients saw, by status, and how many units were charged for it.
fn load(gateway: &Gateway) -> (BTreeMap<u16, u64>, u64) {
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 100_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 100_000}));
    let run = |key: &Key<'_>| (0..REQUESTS).map(|_| key.detect().status).collect::<Vec<_>>();
    let mut seen = BTreeMap::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| run(&key))).collect();
        for status in clients.into_iter().flat_map(|client| client.join().expect("no panic")) {
            *seen.entry(status).or_default() += 1;
        }
    });
    (seen, organization.units())
}

fn one(manner: Manner) -> (BTreeMap<u16, u64>, u64) {
    let backend = Backend::start();
    backend.set(manner);
    load(&Gateway::start(QUICK, &backend.url))
}

fn told(what: &str, (seen, charged): &(BTreeMap<u16, u64>, u64)) {
    let statuses = seen.iter().map(|(status, count)| format!("{status} × {count}"));
    let statuses: Vec<_> = statuses.collect();
    eprintln!("| {what} | {} | {charged} |", statuses.join(", "));
}

#[test]
fn what_is_charged_is_what_succeeded() {
    let all = (CLIENTS * REQUESTS) as u64;
    eprintln!("| backend | clients saw | units charged |\n|---|---|---|");
    let away = load(&Gateway::start(QUICK, &format!("http://{}", free_address())));
    told("away", &away);
    assert_eq!(away, (BTreeMap::from([(502, all)]), 0));
    for (name, manner, status) in [
        ("resets mid-head", Manner::HalfHead, 502),
        ("stalls", Manner::Stalls, 504),
        ("fails", Manner::Fails, 500),
    ] {
        let outcome = one(manner);
        told(name, &outcome);
        assert_eq!(outcome, (BTreeMap::from([(status, all)]), 0));
    }
    let flaky = one(Manner::FailsHalfTheTime);
    told("50 % errors", &flaky);
    assert_eq!(flaky.0.keys().copied().collect::<Vec<_>>(), [200, 500]);
    assert_eq!(flaky.0[&200], flaky.1, "each success, once");

    let (well, dead) = (Backend::start(), free_address());
    let outcome = load(&Gateway::start(QUICK, &format!("{},http://{dead}", well.url)));
    told("one of two dead", &outcome);
    assert_eq!(outcome, (BTreeMap::from([(200, all)]), all), "nobody noticed");
}
