//! Header rewriting: whatever a client or a backend sends, only the gateway speaks with its names.

use std::net::{IpAddr, Ipv4Addr};

use driftlock_domain::headers::{
    CallerHeaders, Forward, TrustedWay, from_backend, to_backend, trace_context,
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
/// What a client says for the gateway's ears alone.
const NOT_FORWARDED: [&str; 7] = [
    "authorization",
    "cookie",
    "host",
    "expect",
    "forwarded",
    "cf-connecting-ip",
    "idempotency-replayed",
];
/// Of the gateway: exactly one each.
const OURS: [&str; 7] = [
    "x-organization-id",
    "x-api-key-id",
    "x-request-id",
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-by",
    "x-forwarded-proto",
];
/// Of the gateway to the client.
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
    assert!(answered.iter().all(|pair| is_sent(&sent, pair)), "an answer's header is invented");
}

fn request(sent: &HeaderMap, trusted: TrustedWay) {
    let mut forwarded = sent.clone();
    let (organization, key) = (OrganizationId::from_bytes([7; 16]), KeyId::from_bytes([8; 16]));
    let forward = Forward {
        caller: &CallerHeaders::of(organization, key),
        request_id: &HeaderValue::from_static("request"),
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trusted,
    };
    to_backend(&mut forwarded, &forward);
    trace_context(&mut forwarded, || [9; 24]);
    for name in HOP_BY_HOP.into_iter().chain(NOT_FORWARDED) {
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
        let dashed = name.as_str().replace('_', "-");
        assert!(dashed == name.as_str() || !OURS.contains(&&*dashed), "{name} passed for {dashed}");
        let own = OURS.contains(&name.as_str())
            || matches!(name.as_str(), "x-forwarded-host" | "traceparent");
        assert!(own || is_sent(sent, (name, value)), "{name} is invented");
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

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all("connection").iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}
