//! I3 across gateways: of two requests with one Idempotency-Key, sent to two gateways at once, one
//! reaches the backend and the other is refused as in flight. Then every gateway replays the
//! answer. A failed request frees the key everywhere.

use std::thread;

use driftlock_e2e::admin::{DETECT, Organization};
use driftlock_e2e::answer::Answer;
use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use serde_json::json;

use super::CONFIG;
use super::support::backend::{Backend, Manner};
use super::support::fleet::Fleet;

/// A short head timeout for a backend that does not answer.
const TIMEOUTS: &str = "[timeouts]\nbackend_head_ms = 2000\n";

fn send(target: &Target, key: &str, name: &str, data: &str) -> Answer {
    let call = target.keyed("POST", DETECT, key).header("idempotency-key", &format!("\"{name}\""));
    call.json(&json!({ "data": [data] })).send()
}

#[test]
fn of_two_at_once_one_reaches_the_backend() {
    let backend = Backend::start();
    let fleet = Fleet::start_before(2, &format!("{CONFIG}{TIMEOUTS}"), &backend.url);
    let (one, other) = (fleet.target(0), fleet.target(1));
    let organization = Organization::new(&one);
    let key = organization.key().secret;
    let reached = || backend.seen().iter().filter(|head| head.starts_with("POST ")).count();

    backend.set(Manner::Stalls);
    thread::scope(|scope| {
        let first = scope.spawn(|| send(&one, &key, "a", "x"));
        eventually("the backend has the first one", || (reached() == 1).then_some(()));
        let second = send(&other, &key, "a", "x");
        assert_eq!(second.status, 409, "{}", second.text());
        assert_eq!(send(&other, &key, "a", "y").status, 422, "another payload");
        assert_eq!(reached(), 1, "the backend is not called for it");
        // A client that waits gets the backend's timeout in the end; then the key is free.
        assert_eq!(first.join().expect("no client fails").status, 504);
    });
    assert_eq!(organization.units(), 0);
    backend.set(Manner::Answers);

    let again = send(&other, &key, "a", "x");
    let replayed = send(&one, &key, "a", "x");
    assert_eq!((again.status, replayed.status), (200, 200));
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
    assert_eq!(replayed.header("x-usage-receipt"), again.header("x-usage-receipt"));
    assert_eq!((organization.units(), reached()), (1, 2));
    assert_eq!(fleet.sql("select count(*) from driftlock.idempotency_claims"), "0");
}
