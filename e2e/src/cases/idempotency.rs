//! Idempotency-Key: a request is charged at most once, and its repetition gets the same answer
//! (I3).

use std::collections::BTreeSet;
use std::thread;

use serde_json::json;

use crate::admin::{ANALYZE, DETECT, Key, Organization, two_lines, unique};
use crate::answer::Answer;
use crate::poll::eventually;
use crate::raw;
use crate::target::Target;

const REPLAYED: &str = "idempotency-replayed";

pub(super) fn a_repetition_is_replayed_and_charged_once(target: &Target) {
    let organization = Organization::new(target);
    let (key, token) = (organization.key(), unique("idem"));
    let first = send(&key, &token);
    assert_eq!(first.expect(200).header(REPLAYED), None);
    // A bare token and a quoted string are the same key.
    for form in [token.clone(), format!("\"{token}\"")] {
        let again = settled(&key, &form);
        assert_eq!(again.expect(200).required(REPLAYED), "true");
        assert_eq!(again.receipt(), first.receipt());
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert_ne!(again.required("x-request-id"), first.required("x-request-id"));
    }
    assert_eq!(organization.units(), 1);
}

pub(super) fn another_payload_is_422(target: &Target) {
    let organization = Organization::new(target);
    let (key, token) = (organization.key(), unique("idem"));
    send(&key, &token).expect(200);
    let keyed = |path: &str| key.call("POST", path).header("idempotency-key", &token);
    let body = keyed(DETECT).json(&json!({"data": ["another line"]})).send();
    body.free().problem(422, "idempotency-key-reused");
    let query = keyed(&format!("{DETECT}?a=1")).json(&two_lines()).send();
    query.free().problem(422, "idempotency-key-reused");
    let same_bytes = two_lines().to_string().into_bytes();
    let content_type = keyed(DETECT).bytes("application/vnd.other+json", same_bytes).send();
    content_type.free().problem(422, "idempotency-key-reused");
    assert_eq!(organization.units(), 1);
}

/// A backend's answer may depend on any header that reaches it, so all of them are part of the
/// request.
pub(super) fn another_header_is_422_unless_it_only_says_who_sends_it(target: &Target) {
    let organization = Organization::new(target);
    let (key, token) = (organization.key(), unique("idem"));
    let keyed = |headers: &[(&str, &str)]| {
        let call = key.call("POST", DETECT).header("idempotency-key", &token);
        let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
        call.json(&two_lines()).send()
    };
    let first = keyed(&[("x-question", "1"), ("x-more", "2")]);
    first.expect(200);
    for other in [
        &[("x-question", "2"), ("x-more", "2")][..],
        &[("x-question", "1")],
        &[("x-question", "1"), ("x-more", "2"), ("x-more", "3")],
        &[("x-question", "1"), ("x-more", "2"), ("accept-language", "de")],
    ] {
        keyed(other).free().problem(422, "idempotency-key-reused");
    }
    for same in [
        &[("x-more", "2"), ("x-question", "1")][..],
        &[
            ("x-question", "1"),
            ("x-more", "2"),
            ("user-agent", "another/2"),
            ("x-request-id", "another"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-organization-id", "org_unknown"),
        ],
    ] {
        let again = keyed(same);
        assert_eq!(again.expect(200).required(REPLAYED), "true", "{same:?}");
        assert_eq!(again.receipt(), first.receipt());
    }
    assert_eq!(organization.units(), 1);
}

pub(super) fn a_malformed_key_is_400(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    for bad in ["\"\"", "\"open", "\"a\" b", "a b", "a,b", &"k".repeat(256)] {
        send(&key, bad).free().problem(400, "idempotency-key-malformed");
    }
    let twice = key.call("POST", DETECT).header("idempotency-key", "a");
    let twice = twice.header("idempotency-key", "a").json(&two_lines()).send();
    twice.free().problem(400, "idempotency-key-malformed");
    assert_eq!(organization.units(), 0);
}

pub(super) fn concurrent_repetitions_are_charged_once(target: &Target) {
    let organization = Organization::new(target);
    let (key, token) = (organization.key(), unique("idem"));
    let answers: Vec<Answer> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| send(&key, &token))).collect();
        threads.into_iter().map(|one| one.join().expect("a thread passes")).collect()
    });
    let (passed, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    for answer in refused {
        answer.free().problem(409, "idempotency-key-in-flight");
        assert!(answer.number("retry-after") >= 1);
    }
    let receipts: BTreeSet<String> = passed.iter().map(Answer::receipt).collect();
    assert_eq!(receipts.len(), 1, "one receipt for all callers");
    let first_hand = passed.iter().filter(|answer| answer.header(REPLAYED).is_none()).count();
    assert_eq!(first_hand, 1, "the backend was called once");
    assert_eq!(settled(&key, &token).expect(200).required(REPLAYED), "true");
    assert_eq!(organization.units(), 1);
}

pub(super) fn an_answer_that_is_not_2xx_frees_the_key(target: &Target) {
    let organization = Organization::new(target);
    let (key, token) = (organization.key(), unique("idem"));
    let call = key.call("POST", DETECT).header("idempotency-key", &token);
    call.json(&json!({"data": 1})).send().free().expect(400);
    // Another payload without 422: the key is free again.
    let good = settled(&key, &token);
    assert_eq!(good.expect(200).header(REPLAYED), None);
    assert_eq!(organization.units(), 1);
}

pub(super) fn a_key_is_scoped_to_organization_and_route(target: &Target) {
    let (one, other) = (Organization::new(target), Organization::new(target));
    let (key, token) = (one.key(), unique("idem"));
    let first = send(&key, &token).expect(200).receipt();
    let call = key.call("POST", ANALYZE).header("idempotency-key", &token);
    let route = call.json(&two_lines()).send();
    let organization = send(&other.key(), &token);
    for answer in [&route, &organization] {
        assert_eq!(answer.expect(200).header(REPLAYED), None);
        assert_ne!(answer.receipt(), first);
    }
    assert_eq!((one.units(), other.units()), (2, 1));
    // Another API key of the organization shares its idempotency keys.
    assert_eq!(settled(&one.key(), &token).expect(200).receipt(), first);
}

pub(super) fn a_replay_comes_before_the_quota_and_after_the_key(target: &Target) {
    let organization = Organization::with(target, json!({"quota": {"included": 1}}));
    let (key, token) = (organization.key(), unique("idem"));
    let first = send(&key, &token).expect(200).receipt();
    key.detect().problem(429, "quota-exceeded");
    assert_eq!(settled(&key, &token).expect(200).receipt(), first);
    let reader = organization.key_with(json!({"scopes": ["anomalies:read"]}));
    send(&reader, &token).problem(403, "scope-missing");
    key.admin("POST", "/revoke").send().expect(200);
    send(&key, &token).problem(401, "key-revoked");
}

/// Payloads with a key are stored and limited to 1 MiB; without a key the same payload passes.
pub(super) fn a_keyed_payload_beyond_1_mib_is_413(target: &Target) {
    let organization = Organization::new(target);
    let bearer = format!("Bearer {}", organization.key().secret);
    let length = ((1 << 20) + 1).to_string();
    let token = unique("idem");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Content-Length", length.as_str()),
        ("Idempotency-Key", token.as_str()),
    ];
    let refused = raw::head(target, &format!("POST {DETECT} HTTP/1.1"), &headers);
    refused.free().problem(413, "body-too-large");
    assert_eq!(organization.units(), 0);
}

/// The request is denied by its head: no byte of the payload is sent.
pub(super) fn a_payload_is_read_only_of_a_request_that_was_admitted(target: &Target) {
    let denied = |key: &Key<'_>, code: &str| {
        let (bearer, token) = (format!("Bearer {}", key.secret), unique("idem"));
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Content-Length", "1000"),
            ("Idempotency-Key", token.as_str()),
        ];
        let refused = raw::head(target, &format!("POST {DETECT} HTTP/1.1"), &headers);
        refused.free().problem(429, code);
    };
    let organization = Organization::new(target);
    let limited = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 1}));
    send(&limited, &unique("idem")).expect(200);
    denied(&limited, "rate-limited");
    let used_up = Organization::with(target, json!({"quota": {"included": 1}}));
    send(&used_up.key(), &unique("idem")).expect(200);
    denied(&used_up.key(), "quota-exceeded");
    assert_eq!((organization.units(), used_up.units()), (1, 1));
}

fn send(key: &Key<'_>, token: &str) -> Answer {
    key.call("POST", DETECT).header("idempotency-key", token).json(&two_lines()).send()
}

/// The answer once the earlier request has finished: its answer is stored a moment after it was
/// read.
fn settled(key: &Key<'_>, token: &str) -> Answer {
    eventually("the request before is over", || {
        let answer = send(key, token);
        (answer.status != 409).then_some(answer)
    })
}
