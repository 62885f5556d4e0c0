//! Requests that are malformed, or that two parsers may read differently: what the client gets,
//! what the backend sees, and what is charged.
//!
//! `cargo xtask cases` prints the same table with nginx and HAProxy for comparison.

#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "this test neither limits files nor starts stores in vain")]
    pub(crate) mod gateway;
    pub(crate) mod process;
    pub(crate) mod recorder;
}
mod table;
mod wire;

use driftlock_e2e::admin::Organization;
use serde_json::json;
use support::backend::Backend;
use support::gateway::Gateway;
use support::recorder::Recorder;
use table::{Case, Verdict, cases};
use wire::{Outcome, send, statuses, trickle};

const CONFIG: &str = "[timeouts]\nclient_head_ms = 1000\nbody_idle_ms = 1000\n";

#[test]
fn every_case_has_its_verdict() {
    let recorder = Recorder::start();
    let gateway = Gateway::start(CONFIG, &format!("http://{}", recorder.address));
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000}));
    let mut wrong = Vec::new();
    for case in cases() {
        let before = organization.units();
        let outcome = send(gateway.address(), &recorder, &case, &key.secret);
        let charged = organization.units() - before;
        let mut complaint = judge(&case, &outcome);
        let may_be_charged = !outcome.requests.is_empty() && outcome.status == Some(200);
        if charged > u64::from(may_be_charged) {
            complaint = Some(format!("charged {charged}"));
        }
        if let Some(complaint) = complaint {
            wrong.push(format!("{}: {complaint}: {outcome:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The error of an outcome, if it is wrong.
fn judge(case: &Case, outcome: &Outcome) -> Option<String> {
    let Outcome { status, closed, requests, bytes, unsent, .. } = outcome;
    let is_one_of = |statuses: &[u16]| status.is_some_and(|status| statuses.contains(&status));
    let is_cut_off = |statuses: &[u16]| {
        is_one_of(statuses) && *closed && requests.len() <= 1 && !bytes.ends_with("0\r\n\r\n")
    };
    let (right, wanted) = match case.verdict {
        Verdict::Refused(statuses) => {
            let right = is_one_of(statuses) && *closed && requests.is_empty();
            (right, format!("{statuses:?}, closed, nothing forwarded"))
        }
        Verdict::Answered(statuses) => {
            let right = is_one_of(statuses) && requests.is_empty();
            (right, format!("{statuses:?}, nothing forwarded"))
        }
        Verdict::RefusedOrAborted(statuses) => {
            (is_cut_off(statuses), format!("{statuses:?}, closed, no complete body forwarded"))
        }
        Verdict::Unread(statuses) => {
            let right = is_cut_off(statuses) && *unsent > 0;
            (right, format!("{statuses:?}, closed, the rest of the body unread"))
        }
        Verdict::ThenRefused(statuses) => {
            let right = match statuses_of(outcome)[..] {
                [200, second] => statuses.contains(&second) && *closed && requests.len() == 1,
                _ => false,
            };
            (right, format!("one forwarded, the other {statuses:?}, closed"))
        }
        Verdict::RefusedOr(path) => {
            let right = match &requests[..] {
                [] => is_one_of(&[400]) && *closed,
                [line] => is_one_of(&[200]) && *line == format!("GET {path} HTTP/1.1"),
                _ => false,
            };
            (right, format!("a refusal, or {path}"))
        }
        Verdict::ThenAnswered(statuses) => {
            let right = match statuses_of(outcome)[..] {
                [200, second] => statuses.contains(&second) && requests.len() == 1,
                _ => false,
            };
            (right, format!("one forwarded, the other {statuses:?}"))
        }
        Verdict::ForwardedWithout(texts) => {
            let head = bytes.to_lowercase();
            let right = is_one_of(&[200])
                && requests.len() == 1
                && !texts.iter().any(|text| head.contains(text));
            (right, format!("it forwarded without {texts:?}"))
        }
        Verdict::ForwardedWith(text) => {
            let forged = ["forged", "203.0.113.9", "zz-zz"];
            let right = is_one_of(&[200])
                && requests.len() == 1
                && bytes.to_lowercase().contains(text)
                && !forged.iter().any(|forged| bytes.contains(forged));
            (right, format!("it forwarded with {text:?}"))
        }
    };
    let complaint = (!right).then(|| format!("wanted {wanted}"));
    let smuggled = || Some("a second request was smuggled through".to_owned());
    complaint
        .or_else(|| bytes.contains("smuggled").then(smuggled).flatten())
        .or_else(|| unexplained(&outcome.answer))
}

fn statuses_of(outcome: &Outcome) -> Vec<u16> {
    statuses(&outcome.answer)
}

/// Each refusal has a reason and a request id.
fn unexplained(answer: &str) -> Option<String> {
    let refusals = answer.split("HTTP/1.1 4").skip(1);
    let all = ["application/problem+json", "x-request-id: ", "x-content-type-options: nosniff"];
    let mut missing = refusals.flat_map(|answer| {
        all.iter().chain(&["\"instance\":\""]).filter(|part| !answer.contains(**part))
    });
    missing.next().map(|part| format!("a refusal without {part}"))
}

#[test]
fn a_client_that_trickles_gets_408_and_delays_no_other() {
    let backend = Backend::start();
    let config = "[timeouts]\nclient_head_ms = 400\nbody_idle_ms = 400\n";
    let gateway = Gateway::start(config, &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000}));
    let head = format!(
        "POST /api/v1/anomalies/detect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: text/plain\r\nContent-Length: 5000\r\n",
        key.secret
    );
    for (name, at_once) in [("in the head", head.clone()), ("in the body", format!("{head}\r\n"))] {
        let answer = trickle(gateway.address(), &at_once);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{name}: {answer}");
        assert_eq!(unexplained(&answer), None, "{name}: {answer}");
        key.call("GET", "/api/v1/health").send().expect(200);
    }
    let complete = backend.seen().iter().any(|head| head.starts_with("POST"));
    assert!(!complete, "the backend saw no complete request");
    assert_eq!(organization.units(), 0);
}
