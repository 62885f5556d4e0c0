//! Requests with an Idempotency-Key to a backend that is slow or sends large answers (I3).

mod support {
    #[expect(dead_code, reason = "stores that fail are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
    pub(crate) mod script;
}

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use driftlock_e2e::admin::{DETECT, Key, Organization, two_lines};
use driftlock_e2e::answer::Answer;
use driftlock_e2e::poll::eventually;
use serde_json::json;
use support::gateway::Gateway;
use support::script::{End, Script, Scripted};

const REPLAYED: &str = "idempotency-replayed";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const THING: &str = "/api/v1/things/a";
const EVENTS: &str = "/api/v1/events";
/// Every method, metered.
const ROUTES: &str = r#"
[[routes]]
method = "POST"
path = "/api/v1/anomalies/detect"
units = 1
[[routes]]
method = "GET"
path = "/api/v1/things/{id}"
units = 1
[[routes]]
method = "PUT"
path = "/api/v1/things/{id}"
units = 1
[[routes]]
method = "PATCH"
path = "/api/v1/things/{id}"
units = 1
[[routes]]
method = "DELETE"
path = "/api/v1/things/{id}"
units = 1
[[routes]]
method = "GET"
path = "/api/v1/events"
units = 1
stream = true
"#;

fn with(script: Script, act: impl FnOnce(&Gateway, &Scripted, &Key<'_>, &Organization<'_>)) {
    let backend = Scripted::start(script);
    let gateway = Gateway::start(ROUTES, &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 3}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 100_000}));
    act(&gateway, &backend, &key, &organization);
}

fn send(key: &Key<'_>, token: &str) -> Answer {
    key.call("POST", DETECT).header("idempotency-key", token).json(&two_lines()).send()
}

/// A request of any method, with a body where the method has one.
fn ask(key: &Key<'_>, method: &str, path: &str, token: &str) -> Answer {
    let call = key.call(method, path).header("idempotency-key", token);
    match method {
        "PUT" | "PATCH" | "POST" => call.json(&two_lines()).send(),
        _ => call.send(),
    }
}

/// Asserts that a repetition is refused because the answer was not stored.
#[track_caller]
fn not_kept(again: &Answer, receipt: &str) {
    let detail = again.free().problem(409, "idempotency-answer-not-kept");
    assert!(detail.contains(receipt), "{detail}");
    assert_eq!(again.json()["receipt"], receipt);
    assert_eq!(again.header("retry-after"), None, "it would be refused again");
    assert!(again.limit("ratelimit", "key", "r") > 0, "the answer has the limits");
}

#[test]
fn every_metered_method_is_charged_once_and_replayed() {
    with(Script::text(OK, End::Keep), |_, backend, key, organization| {
        organization.patch(&json!({"quota": {"included": 5}}));
        for (place, method) in ["GET", "HEAD", "PUT", "PATCH", "DELETE"].into_iter().enumerate() {
            let script = if method == "HEAD" { OK.trim_end_matches("{}") } else { OK };
            backend.say(Script::text(script, End::Keep));
            let first = ask(key, method, THING, method);
            assert_eq!(first.expect(200).header(REPLAYED), None, "{method}");
            let seen = backend.take();
            assert_eq!(seen.len(), 1, "{method}");
            let framed = seen[0].head.to_lowercase().contains("content-length");
            assert_eq!(framed, matches!(method, "PUT" | "PATCH"), "{}", seen[0].head);
            for _ in 0..2 {
                let again = ask(key, method, THING, method);
                assert_eq!(again.expect(200).required(REPLAYED), "true", "{method}");
                assert_eq!((again.receipt(), &again.body), (first.receipt(), &first.body));
            }
            let other = ask(key, method, "/api/v1/things/b", method);
            assert_eq!(other.free().status, 422, "{method}");
            assert!(backend.take().is_empty(), "{method}: the backend was asked once");
            assert_eq!(organization.units(), place as u64 + 1, "{method}");
        }
        // The quota is used up, and the answer that was paid for is still replayed.
        ask(key, "PUT", THING, "new").free().problem(429, "quota-exceeded");
        assert_eq!(ask(key, "PUT", THING, "PUT").expect(200).required(REPLAYED), "true");
    });
}

/// A HEAD under the key of a GET is another request, although the route is the same.
#[test]
fn head_does_not_replay_what_get_was_answered() {
    with(Script::text(OK, End::Keep), |_, backend, key, organization| {
        ask(key, "GET", THING, "a").expect(200);
        let head = ask(key, "HEAD", THING, "a");
        assert_eq!((head.status, head.body.len()), (422, 0));
        assert_eq!((backend.take().len(), organization.units()), (1, 1));
    });
}

#[test]
fn an_answer_beyond_256_kib_is_passed_on_once_and_then_named_by_its_receipt() {
    for (length, kept) in [(256 << 10, true), ((256 << 10) + 1, false)] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let pieces = vec![(Duration::ZERO, head.into_bytes())];
        let script = Script { pieces, repeated: (1, length), end: End::Keep };
        with(script, |_, backend, key, organization| {
            let first = send(key, "large");
            assert_eq!(first.expect(200).body.len(), length);
            for _ in 0..20 {
                let again = send(key, "large");
                if kept {
                    assert_eq!(again.expect(200).required(REPLAYED), "true");
                    assert_eq!((again.receipt(), &again.body), (first.receipt(), &first.body));
                } else {
                    not_kept(&again, &first.receipt());
                }
            }
            assert_eq!(backend.take().len(), 1, "{length}: the backend was asked once");
            assert_eq!(organization.units(), 1, "{length}: charged once");
        });
    }
}

/// A used-up quota does not send the repetition to the backend again either.
#[test]
fn an_answer_that_was_not_kept_is_no_free_way_past_the_quota() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50000\r\n".to_vec();
    let mut pieces = vec![(Duration::ZERO, head), (Duration::ZERO, vec![b'x'; 0x50000])];
    pieces.push((Duration::ZERO, b"\r\n0\r\n\r\n".to_vec()));
    with(Script { pieces, repeated: (0, 0), end: End::Keep }, |_, backend, key, organization| {
        organization.patch(&json!({"quota": {"included": 1}}));
        let first = send(key, "large").expect(200).receipt();
        key.detect().problem(429, "quota-exceeded");
        for _ in 0..3 {
            not_kept(&send(key, "large"), &first);
        }
        let call = key.call("POST", DETECT).header("idempotency-key", "large");
        let question = call.header("x-question", "2").json(&two_lines()).send();
        question.free().problem(422, "idempotency-key-reused");
        assert_eq!((backend.take().len(), organization.units()), (1, 1));
    });
}

/// A stream begins at once, on a route of streams and where a backend sends one unexpectedly.
#[test]
fn a_streamed_answer_is_not_kept() {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 4\r\n\r\nx: 1";
    for (path, script) in [(EVENTS, OK), (THING, head)] {
        with(Script::text(script, End::Keep), |_, backend, key, organization| {
            let first = ask(key, "GET", path, "events").expect(200).receipt();
            not_kept(&ask(key, "GET", path, "events"), &first);
            assert_eq!((backend.take().len(), organization.units()), (1, 1), "{path}");
        });
    }
}

/// A missing answer costs neither the unit nor the key.
#[test]
fn an_answer_that_breaks_off_costs_nothing_and_frees_the_key() {
    let broken = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nab";
    with(Script::text(broken, End::Close), |_, backend, key, organization| {
        send(key, "again").free().problem(502, "backend-broken");
        assert_eq!(organization.units(), 0);
        backend.say(Script::text(OK, End::Keep));
        assert_eq!(send(key, "again").expect(200).header(REPLAYED), None);
        assert_eq!(send(key, "again").expect(200).required(REPLAYED), "true");
        assert_eq!(organization.units(), 1);
    });
}

/// The request continues, settles and stores its answer for a client that repeats it.
#[test]
fn a_client_that_goes_away_cancels_no_keyed_request() {
    let pieces = vec![(Duration::from_millis(300), OK.as_bytes().to_vec())];
    let script = Script { pieces, repeated: (0, 0), end: End::Keep };
    with(script, |gateway, backend, key, organization| {
        let body = two_lines().to_string();
        let request = format!(
            "POST {DETECT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nIdempotency-Key: \
             gone\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            key.secret,
            body.len()
        );
        let mut stream = TcpStream::connect(gateway.address()).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        eventually("the backend has it", || backend.take().pop());
        drop(stream);
        eventually("it is settled", || (organization.units() == 1).then_some(()));
        let again = eventually("its answer is kept", || {
            let again = send(key, "gone");
            (again.status != 409).then_some(again)
        });
        assert_eq!(again.expect(200).required(REPLAYED), "true");
        assert!(backend.take().is_empty(), "the backend was asked once");
        assert_eq!(organization.units(), 1);
    });
}
