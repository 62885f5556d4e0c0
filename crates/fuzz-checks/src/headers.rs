//! Header rewriting: whatever a client or a backend sends, only the gateway speaks with its names.

use std::net::{IpAddr, Ipv4Addr};

use driftlock_domain::headers::{
    CallerHeaders, Forward, TrustedWay, from_backend, to_backend, trace_context,
};
use driftlock_domain::id::{KeyId, OrganizationId};
use http::HeaderValue;

use crate::lines;

const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
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

/// # Panics
/// If a forged or hop-by-hop header passes.
pub fn check(bytes: &[u8]) {
    let sent = lines::headers(bytes);
    let mut forwarded = sent.clone();
    let organization = OrganizationId::from_bytes([7; 16]);
    let forward = Forward {
        caller: &CallerHeaders::of(organization, KeyId::from_bytes([8; 16])),
        request_id: &HeaderValue::from_static("request"),
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trusted: TrustedWay::Direct,
    };
    to_backend(&mut forwarded, &forward);
    trace_context(&mut forwarded, || [9; 24]);
    for name in
        HOP_BY_HOP.into_iter().chain(["authorization", "cookie", "host", "expect", "forwarded"])
    {
        assert!(!forwarded.contains_key(name), "{name} passed");
    }
    for name in OURS {
        assert_eq!(forwarded.get_all(name).iter().count(), 1, "{name}");
    }
    assert_eq!(forwarded["x-organization-id"], *organization.to_string());
    let parent = forwarded.get_all("traceparent");
    assert_eq!(parent.iter().count(), 1);
    assert!(parent.iter().all(|value| value.len() == 55));
    for (name, value) in &forwarded {
        let own = OURS.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded");
        let own = own || name.as_str().starts_with("trace");
        assert!(own || sent.get_all(name).iter().any(|known| known == value), "{name} is invented");
    }
    let mut answered = sent;
    from_backend(&mut answered);
    for name in HOP_BY_HOP.into_iter().chain(["x-usage-receipt", "ratelimit", "server"]) {
        assert!(!answered.contains_key(name), "{name} came back");
    }
}
