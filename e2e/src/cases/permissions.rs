//! What a known key may do: scopes and addresses.

use serde_json::json;

use crate::admin::{ANALYZE, DETECT, HEALTH, LIST, Organization, PLENTY, two_lines};
use crate::target::Target;

/// Each route with the scope that it needs.
const ROUTES: [(&str, &str, &str); 7] = [
    ("GET", LIST, "anomalies:read"),
    ("POST", DETECT, "anomalies:detect"),
    ("GET", "/api/v1/anomalies/none", "anomalies:read"),
    ("PUT", "/api/v1/anomalies/none/resolve", "anomalies:write"),
    ("POST", ANALYZE, "anomalies:detect"),
    ("POST", "/api/v1/events/ingest", "events:write"),
    ("GET", "/api/v1/stream/anomalies", "anomalies:read"),
];

pub(super) fn every_route_wants_its_scope(target: &Target) {
    let organization = Organization::new(target);
    for (method, path, scope) in ROUTES {
        let others: Vec<&str> =
            crate::admin::SCOPES.into_iter().filter(|other| *other != scope).collect();
        let key = organization.key_with(json!({"scopes": others, "requests_per_minute": PLENTY}));
        let mut call = key.call(method, path);
        if method != "GET" {
            call = call.json(&two_lines());
        }
        call.send().free().problem(403, "scope-missing");
    }
    assert_eq!(organization.units(), 0);
}

pub(super) fn one_scope_opens_its_routes_only(target: &Target) {
    let organization = Organization::new(target);
    let reader = organization.key_with(json!({"scopes": ["anomalies:read"]}));
    reader.get(LIST).expect(200);
    reader.detect().problem(403, "scope-missing");
    let detector = organization.key_with(json!({"scopes": ["anomalies:detect"]}));
    detector.detect().expect(200);
    detector.get(LIST).problem(403, "scope-missing");
}

pub(super) fn health_wants_no_scope(target: &Target) {
    let key = Organization::new(target).key_with(json!({"scopes": []}));
    let health = key.get(HEALTH);
    assert_eq!(health.expect(200).json()["status"], "ok");
    key.get(LIST).problem(403, "scope-missing");
}

pub(super) fn a_key_bound_to_other_addresses_is_refused(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key_with(json!({"ip_allow": ["203.0.113.0/24", "2001:db8::/32"]}));
    for path in [LIST, HEALTH] {
        key.get(path).problem(403, "address-not-allowed");
    }
    key.detect().problem(403, "address-not-allowed");
    assert_eq!(organization.units(), 0);
}

pub(super) fn a_key_bound_to_its_addresses_passes(target: &Target) {
    let key = Organization::new(target).key_with(json!({"ip_allow": ["0.0.0.0/0", "::/0"]}));
    key.get(LIST).expect(200);
}

/// The suite runs on the gateway's machine, so its address is the IPv4 loopback.
pub(super) fn a_key_bound_to_loopback_passes(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key_with(json!({"ip_allow": ["203.0.113.0/24", "127.0.0.0/8"]}));
    key.get(LIST).expect(200);
    // The gateway ignores an address that the client states itself.
    let other = organization.key_with(json!({"ip_allow": ["203.0.113.7/32"]}));
    for name in ["x-forwarded-for", "x-real-ip", "forwarded"] {
        let forged = other.call("GET", LIST).header(name, "203.0.113.7").send();
        forged.problem(403, "address-not-allowed");
    }
}
