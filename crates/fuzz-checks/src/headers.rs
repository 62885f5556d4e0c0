//! Header rewriting: whatever a client or a backend sends, only the gateway sets its own headers.

use std::net::{IpAddr, Ipv4Addr};

use driftlock_domain::config::Filter;
use driftlock_domain::headers::{
    CallerHeaders, ClientHeaders, Forward, TrustedWay, from_backend, misnamed_by_connection,
    to_backend, trace_context,
};
use driftlock_domain::id::{KeyId, OrganizationId};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::lines;

const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Headers of a client that are meant for the gateway only.
const NOT_FORWARDED: [&str; 6] =
    ["authorization", "cookie", "host", "expect", "idempotency-replayed", "x-usage-receipt"];
/// Headers that only a trusted proxy may send.
const UNTRUSTED: [&str; 6] = [
    "forwarded",
    "cf-connecting-ip",
    "cf-access-jwt-assertion",
    "x-forwarded-user",
    "remote-user",
    "x-http-method-override",
];
/// End-to-end headers, which `Connection` may not remove.
const END_TO_END: [&str; 3] = ["content-type", "content-length", "idempotency-key"];
/// Headers that the gateway sets towards the backend, each exactly once.
const OURS: [&str; 7] = [
    "x-organization-id",
    "x-api-key-id",
    "x-request-id",
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-by",
    "x-forwarded-proto",
];
/// Headers that a backend may not send to the client.
const NOT_ANSWERED: [&str; 11] = [
    "x-usage-receipt",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
    "idempotency-replayed",
    "server",
    "x-powered-by",
    "access-control-allow-origin",
];

/// # Panics
/// If a forged or hop-by-hop header passes.
pub fn check(bytes: &[u8]) {
    let sent = lines::headers(bytes);
    for trusted in [TrustedWay::Direct, TrustedWay::Proxied] {
        request(&sent, trusted);
    }
    let mut answered = sent.clone();
    from_backend(&mut answered);
    for name in HOP_BY_HOP.into_iter().chain(NOT_ANSWERED) {
        assert!(!answered.contains_key(name), "{name} came back");
    }
    for name in named_by_connection(&sent) {
        assert!(!answered.contains_key(&name), "{name} was for one connection");
    }
    for name in answered.keys().map(dashed) {
        assert!(!NOT_ANSWERED.contains(&&*name), "{name} in another spelling came back");
    }
    for name in END_TO_END {
        assert_eq!(answered.get(name), sent.get(name), "{name}");
    }
    assert!(answered.iter().all(|pair| is_sent(&sent, pair)), "an answer's header is invented");
}

fn request(sent: &HeaderMap, trusted: TrustedWay) {
    let mut forwarded = sent.clone();
    let (organization, key) = (OrganizationId::from_bytes([7; 16]), KeyId::from_bytes([8; 16]));
    let forward = Forward {
        client: &ClientHeaders::new(&Filter::default().untrusted_headers, ["x-backend-key"]),
        caller: &CallerHeaders::of(organization, key),
        request_id: &HeaderValue::from_static("request"),
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trusted,
    };
    to_backend(&mut forwarded, &forward);
    trace_context(&mut forwarded, || [9; 24]);
    for name in HOP_BY_HOP.into_iter().chain(NOT_FORWARDED).chain(["x-backend-key"]) {
        assert!(!forwarded.contains_key(name), "{name} passed");
    }
    for name in OURS {
        assert_eq!(forwarded.get_all(name).iter().count(), 1, "{name}");
    }
    assert_eq!(forwarded["x-organization-id"], *organization.to_string());
    assert_eq!(forwarded["x-api-key-id"], *key.to_string());
    assert_eq!(forwarded["x-forwarded-for"], "127.0.0.1");
    assert!(trusted == TrustedWay::Proxied || forwarded["x-forwarded-proto"] == "http");
    assert!(forwarded.get_all("x-forwarded-host").iter().count() <= 1);
    let parents = forwarded.get_all("traceparent");
    assert_eq!(parents.iter().count(), 1);
    assert!(parents.iter().all(|value| value.as_bytes().get(2) == Some(&b'-')));
    for (name, value) in &forwarded {
        let canonical = dashed(name);
        let is_misspelt = canonical != name.as_str();
        let is_untrusted = UNTRUSTED.contains(&&*canonical);
        assert!(!is_misspelt || !OURS.contains(&&*canonical), "{name} passed for {canonical}");
        assert!(!(is_untrusted && (is_misspelt || trusted == TrustedWay::Direct)), "{name} passed");
        let own = OURS.contains(&name.as_str())
            || matches!(name.as_str(), "x-forwarded-host" | "traceparent");
        assert!(own || is_sent(sent, (name, value)), "{name} is invented");
    }
    for name in END_TO_END {
        assert_eq!(forwarded.get(name), sent.get(name), "{name}");
    }
    for name in named_by_connection(sent) {
        let own = OURS.contains(&name.as_str()) || name == "traceparent";
        let own = own || name == "x-forwarded-host";
        assert!(own || !forwarded.contains_key(&name), "{name} was for one connection");
    }
    assert!(forwarded.len() <= sent.len() + OURS.len() + 2);
}

fn is_sent(sent: &HeaderMap, (name, value): (&HeaderName, &HeaderValue)) -> bool {
    sent.get_all(name).iter().any(|known| known == value)
}

/// The headers that `Connection` names and may remove.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all("connection").iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(|name| !is_end_to_end(name)).collect()
}

fn is_end_to_end(name: &HeaderName) -> bool {
    let mut alone = HeaderMap::new();
    alone.insert("connection", HeaderValue::from(name.clone()));
    misnamed_by_connection(&alone).is_some()
}

/// A name as a backend behind CGI reads it.
fn dashed(name: &HeaderName) -> String {
    name.as_str().replace(|char: char| !char.is_ascii_alphanumeric(), "-")
}
