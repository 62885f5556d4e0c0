//! Requests under an Idempotency-Key before a backend that is slow, or says much (I3).

mod support {
    #[expect(dead_code, reason = "stores that fail are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
    #[expect(dead_code, reason = "this test's backend keeps its connections")]
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

fn with(script: Script, act: impl FnOnce(&Gateway, &Scripted, &Key<'_>, &Organization<'_>)) {
    let backend = Scripted::start(script);
    let gateway = Gateway::start("", &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 100_000}));
    act(&gateway, &backend, &key, &organization);
}

fn send(key: &Key<'_>, token: &str) -> Answer {
    key.call("POST", DETECT).header("idempotency-key", token).json(&two_lines()).send()
}

/// Too great to be kept: the repetition goes to the backend, under the receipt that was paid for.
#[test]
fn an_answer_beyond_256_kib_is_repeated_uncharged_under_its_receipt() {
    for (length, kept) in [(256 << 10, true), ((256 << 10) + 1, false)] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let pieces = vec![(Duration::ZERO, head.into_bytes())];
        let script = Script { pieces, repeated: (1, length), end: End::Keep };
        with(script, |_, backend, key, organization| {
            let first = send(key, "large");
            assert_eq!(first.expect(200).body.len(), length);
            for _ in 0..2 {
                let again = eventually("the request before is over", || {
                    let again = send(key, "large");
                    (again.status != 409).then_some(again)
                });
                assert_eq!(again.expect(200).body, first.body);
                assert_eq!(again.receipt(), first.receipt());
                assert_eq!(again.header(REPLAYED).is_some(), kept);
            }
            assert_eq!(backend.take().len(), if kept { 1 } else { 3 });
            assert_eq!(organization.units(), 1, "{length}: charged once");
        });
    }
}

/// It runs on, settles and keeps its answer, for the client that comes again.
#[test]
fn a_client_that_goes_away_cancels_no_keyed_request() {
    let pieces = vec![(Duration::from_millis(300), OK.as_bytes().to_vec())];
    let script = Script { pieces, repeated: (0, 0), end: End::Keep };
    with(script, |gateway, backend, key, organization| {
        let body = two_lines().to_string();
        let request = format!(
            "POST {DETECT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nIdempotency-Key: \
             gone\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
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
