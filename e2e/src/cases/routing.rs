//! Which paths and methods reach the backend, and which are refused.

use serde_json::json;

use crate::admin::{DETECT, HEALTH, LIST, Organization, two_lines};
use crate::raw;
use crate::target::Target;

pub(super) fn paths_without_a_route_are_404(target: &Target) {
    let key = Organization::new(target).key();
    for path in ["/api/v1/nothing", "/api/v1/anomalies/", "/api/v1/Health", "/api/v2/health"] {
        key.get(path).problem(404, "not-found");
    }
}

pub(super) fn other_methods_are_405_with_allow(target: &Target) {
    let key = Organization::new(target).key();
    for (method, path, allowed) in [
        ("GET", DETECT, "POST"),
        ("PUT", HEALTH, "GET, HEAD"),
        ("POST", LIST, "GET, HEAD"),
        ("GET", "/api/v1/anomalies/x/resolve", "PUT"),
    ] {
        let refused = key.call(method, path).send();
        refused.problem(405, "method-not-allowed");
        assert_eq!(refused.required("allow"), allowed, "{method} {path}");
    }
}

pub(super) fn head_goes_where_get_does(target: &Target) {
    let answer = Organization::new(target).key().call("HEAD", HEALTH).send();
    assert!(answer.expect(200).body.is_empty());
}

/// Sent as raw bytes: an HTTP client would correct them.
pub(super) fn paths_that_parsers_read_differently_are_refused(target: &Target) {
    let key = Organization::new(target).key();
    let bearer = format!("Bearer {}", key.secret);
    for path in [
        "/api//v1/health",
        "//api/v1/health",
        "/api/v1%2fhealth",
        "/api/v1%5Chealth",
        "/api/v1/anomalies/%00",
        "/api/v1/anomalies/a;b",
        "/api/v1/anomalies/%zz",
        "/api/v1/anomalies/%252e",
    ] {
        let line = format!("GET {path} HTTP/1.1");
        let refused = raw::head(target, &line, &[("Authorization", &bearer)]);
        assert_eq!(refused.status, 400, "{path}: {}", refused.text());
        refused.problem(400, "malformed-request");
    }
}

pub(super) fn needless_encoding_is_undone(target: &Target) {
    let key = Organization::new(target).key();
    key.get("/api/v1/%68ealth").expect(200);
}

/// Dot segments are refused, unless a host's platform resolves them before the gateway sees them.
/// Then the resolved path is authorized and forwarded.
pub(super) fn dot_segments_lead_past_no_scope(target: &Target) {
    let organization = Organization::new(target);
    let health_only = organization.key_with(json!({"scopes": []}));
    let bearer = format!("Bearer {}", health_only.secret);
    for path in [
        "/api/v1/health/../anomalies",
        "/api/v1/health/%2e%2e/anomalies",
        "/api/v1/health/.%2E/./anomalies",
        "/api/v1/anomalies/./",
    ] {
        let line = format!("GET {path} HTTP/1.1");
        let answer = raw::head(target, &line, &[("Authorization", &bearer)]);
        match answer.status {
            400 => answer.problem(400, "malformed-request"),
            404 => answer.problem(404, "not-found"),
            _ => answer.problem(403, "scope-missing"),
        };
    }
    let bearer = format!("Bearer {}", organization.key().secret);
    let line = "GET /api/v1/anomalies/../health HTTP/1.1";
    let answer = raw::head(target, line, &[("Authorization", &bearer)]);
    if answer.status == 400 {
        answer.problem(400, "malformed-request");
    } else {
        assert_eq!(answer.expect(200).json()["status"], "ok");
    }
}

/// If a proxy and the gateway disagree about where a request ends, a client can smuggle in another
/// one. The native server refuses such requests with 400, and more than these
/// (`tests/request_cases`); at the edge the platform refuses some of them with its own message.
pub(super) fn ambiguous_framing_is_not_acted_on(target: &Target) {
    let organization = Organization::new(target);
    let bearer = format!("Bearer {}", organization.key().secret);
    let line = format!("POST {DETECT} HTTP/1.1");
    for framing in [
        // Not both framings at once: hyper removes one of them before the gateway sees the head.
        &[("Content-Length", "4"), ("Content-Length", "5")][..],
        &[("Content-Length", "+4")],
        &[("Transfer-Encoding", "identity, chunked")],
        &[("Transfer-Encoding", "xchunked")],
    ] {
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend_from_slice(framing);
        let refused = raw::head(target, &line, &headers);
        assert!((400..600).contains(&refused.status), "{framing:?}: {}", refused.text());
    }
    assert_eq!(organization.units(), 0);
}

/// RFC 9112, section 6.3: either refused or read as chunked, but never by the length.
pub(super) fn a_length_beside_chunks_does_not_count(target: &Target) {
    let organization = Organization::new(target);
    let bearer = format!("Bearer {}", organization.key().secret);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Content-Length", "4"),
        ("Transfer-Encoding", "chunked"),
    ];
    let chunks = [raw::chunk(two_lines().to_string().as_bytes()), b"0\r\n\r\n".to_vec()];
    let line = format!("POST {DETECT} HTTP/1.1");
    let answer = raw::exchange(target, &line, &headers, chunks.into_iter());
    if answer.status == 400 {
        answer.free().problem(400, "malformed-request");
    } else {
        assert_eq!(answer.expect(200).json()["total_events"], 2, "the whole body arrived");
        assert_eq!(organization.units(), 1);
    }
}

pub(super) fn heads_beyond_the_bounds_are_refused(target: &Target) {
    let bearer = format!("Bearer {}", Organization::new(target).key().secret);
    let authorization = ("Authorization", bearer.as_str());
    let long = format!("GET /api/v1/anomalies?q={} HTTP/1.1", "a".repeat(9_000));
    raw::head(target, &long, &[authorization]).expect(414);
    let large = "y".repeat(40_000);
    let line = "GET /api/v1/anomalies HTTP/1.1";
    raw::head(target, line, &[authorization, ("X-Large", &large)]).expect(431);
    let many: Vec<String> = (0..101).map(|index| format!("X-{index}")).collect();
    let mut headers = vec![authorization];
    headers.extend(many.iter().map(|name| (name.as_str(), "1")));
    raw::head(target, line, &headers).expect(431);
}
