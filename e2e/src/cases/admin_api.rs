//! The admin API: who may use it, what it refuses, how it lists.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::admin::{LIST, Organization, PLENTY, pages, unique};
use crate::answer::{Answer, PROBLEMS};
use crate::target::Target;

const ORGANIZATIONS: &str = "/admin/v1/organizations";
/// Ids of the right form that do not exist.
const NO_UUID: &str = "00000000000070008000000000000000";

/// An address may fail only a few times a minute, so each case causes as few failures as it can.
pub(super) fn a_token_is_needed(target: &Target) {
    target.request("GET", ORGANIZATIONS).send().problem(401, "unauthenticated");
    let key = Organization::new(target).key();
    key.get(ORGANIZATIONS).problem(401, "unauthenticated");
}

/// Runs after all others, since it throttles the address of the whole suite.
pub(super) fn failures_are_throttled(target: &Target) {
    let wrong = "x".repeat(40);
    let denied = (0..100)
        .map(|_| target.keyed("GET", ORGANIZATIONS, &wrong).send())
        .find(|answer| answer.status != 401)
        .expect("a hundred guesses are too many");
    denied.problem(429, "rate-limited");
    assert!(denied.number("retry-after") >= 1);
}

pub(super) fn an_organization_is_made_read_and_patched(target: &Target) {
    let name = unique("shape");
    let made = target.admin("POST", "/organizations").json(&json!({"name": name})).send();
    let made = made.expect(201).json();
    assert_eq!((&made["name"], &made["plan"]), (&json!(name), &json!("developer")), "{made}");
    assert_eq!(made["status"], "active", "{made}");
    for name in ["quota", "requests_per_minute", "stripe_customer_id", "subscription"] {
        assert!(made.get(name).is_some(), "no {name} in {made}");
    }
    let path = format!("/organizations/{}", made["id"].as_str().unwrap_or_default());
    assert_eq!(target.admin("GET", &path).send().expect(200).json(), made);
    let patch = json!({"name": unique("renamed"), "quota": {"included": 7}});
    let patched = target.admin("PATCH", &path).json(&patch).send().expect(200).json();
    assert_eq!((&patched["name"], &patched["plan"]), (&patch["name"], &made["plan"]));
    assert_eq!(patched["quota"]["included"], 7, "{patched}");
    let patch = json!({"quota": {"policy": "block"}});
    let patched = target.admin("PATCH", &path).json(&patch).send().expect(200).json();
    assert_eq!(patched["quota"]["included"], 7, "what is absent stays: {patched}");
    assert_eq!(target.admin("GET", &path).send().expect(200).json(), patched);
}

pub(super) fn a_key_is_shown_once(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key_with(json!({"name": "ci", "requests_per_minute": PLENTY}));
    key.get(LIST).expect(200);
    let listed = organization.admin("GET", "/keys").send().expect(200).json();
    let row = &listed["data"][0];
    assert_eq!((&row["id"], &row["name"]), (&json!(key.id), &json!("ci")), "{row}");
    let prefix = row["prefix"].as_str().unwrap_or_default();
    assert!(key.secret.starts_with(prefix) && prefix.len() == 12, "{prefix}");
    assert!(row.get("key").is_none(), "{row}");
    for name in ["scopes", "ip_allow", "expires_at", "revoked_at", "last_used_at"] {
        assert!(row.get(name).is_some(), "no {name} in {row}");
    }
}

/// No later answer contains a key or a secret part of it (I8).
pub(super) fn no_list_or_log_holds_a_secret(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    key.detect().expect(200);
    let answer = key.admin("POST", "/rotate").json(&json!({"grace_seconds": 60})).send();
    let successor = answer.expect(201).json();
    let secrets = [key.secret.as_str(), successor["key"].as_str().expect("a key")];
    key.admin("POST", "/revoke").send().expect(200);
    for rest in ["", "/keys", "/usage?group_by=key", "/audit", "/audit/export"] {
        let text = organization.admin("GET", rest).send().expect(200).text();
        for secret in secrets {
            assert!(!text.contains(&secret[12..]), "{rest} holds a key");
        }
        assert!(!text.contains(&target.admin_token), "{rest} holds the admin token");
    }
}

pub(super) fn unknown_ids_are_404(target: &Target) {
    let paths = [
        ("GET", format!("/organizations/org_{NO_UUID}")),
        ("GET", format!("/organizations/org_{NO_UUID}/keys")),
        ("GET", format!("/organizations/org_{NO_UUID}/usage")),
        ("GET", format!("/organizations/org_{NO_UUID}/audit")),
        ("GET", "/organizations/nonsense".to_owned()),
        ("POST", format!("/keys/key_{NO_UUID}/revoke")),
        ("GET", format!("/receipts/use_{NO_UUID}")),
        ("GET", "/nothing".to_owned()),
    ];
    for (method, path) in paths {
        let answer = target.admin(method, &path).send();
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
        answer.problem(404, "not-found");
    }
    let patch = target.admin("PATCH", &format!("/organizations/org_{NO_UUID}"));
    patch.json(&json!({"name": "x"})).send().problem(404, "not-found");
    let rotate = target.admin("POST", &format!("/keys/key_{NO_UUID}/rotate"));
    rotate.json(&json!({"grace_seconds": 1})).send().problem(404, "not-found");
    let create = target.admin("POST", &format!("/organizations/org_{NO_UUID}/keys"));
    create.json(&json!({"name": "x", "scopes": []})).send().problem(404, "not-found");
}

pub(super) fn other_methods_are_405(target: &Target) {
    let refused = target.admin("DELETE", "/organizations").send();
    refused.problem(405, "method-not-allowed");
    let allowed: BTreeSet<&str> = refused.required("allow").split(", ").collect();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed:?}");
}

pub(super) fn a_bad_organization_is_400_and_the_field_is_named(target: &Target) {
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": 5}), "name"),
        (json!({"name": "x".repeat(201)}), "name"),
        (json!({"name": "x", "plan": "platinum"}), "plan"),
        (json!({"name": "x", "nmae": "y"}), "nmae"),
        (json!({"name": "x", "quota": {"policy": "never"}}), "policy"),
        (json!({"name": "x", "quota": {"included": -1}}), "included"),
        (json!({"name": "x", "quota": {"inclded": 1}}), "inclded"),
        (json!({"name": "x", "requests_per_minute": 0}), "requests_per_minute"),
        (json!({"name": "x", "status": "asleep"}), "status"),
        (json!({"name": "x", "subscription": {"id": "sub_1"}}), "subscription"),
    ] {
        let refused = target.admin("POST", "/organizations").json(&body).send();
        names(&refused, field, &body);
    }
    let broken = target.admin("POST", "/organizations").bytes("application/json", b"{".to_vec());
    broken.send().expect(400);
}

pub(super) fn a_bad_patch_is_400_and_changes_nothing(target: &Target) {
    let organization = Organization::new(target);
    let before = organization.admin("GET", "").send().expect(200).json();
    for (body, field) in [
        (json!({"name": "renamed", "plan": "platinum"}), "plan"),
        (json!({"name": "renamed", "pln": "standard"}), "pln"),
        (json!({"name": "renamed", "quota": {"included": "many"}}), "included"),
        (json!({"id": "org_1"}), "id"),
    ] {
        names(&organization.admin("PATCH", "").json(&body).send(), field, &body);
    }
    assert_eq!(organization.admin("GET", "").send().expect(200).json(), before);
}

pub(super) fn a_bad_key_is_400_and_the_field_is_named(target: &Target) {
    let organization = Organization::new(target);
    for (body, field) in [
        (json!({"scopes": []}), "name"),
        (json!({"name": "x", "scopes": "anomalies:read"}), "scopes"),
        (json!({"name": "x", "scopes": [], "ip_allow": ["somewhere"]}), "ip_allow"),
        (json!({"name": "x", "scopes": [], "expires_at": "tomorrow"}), "expires_at"),
        (json!({"name": "x", "scopes": [], "requests_per_minute": 0}), "requests_per_minute"),
        (json!({"name": "x", "scopes": [], "scope": "y"}), "scope"),
    ] {
        names(&organization.admin("POST", "/keys").json(&body).send(), field, &body);
    }
    let key = organization.key();
    for (body, field) in
        [(json!({"grace_seconds": -1}), "grace_seconds"), (json!({"grace": 1}), "grace")]
    {
        names(&key.admin("POST", "/rotate").json(&body).send(), field, &body);
    }
    let listed = organization.admin("GET", "/keys").send().expect(200).json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "nothing else was made");
}

pub(super) fn lists_come_in_pages(target: &Target) {
    let organization = Organization::new(target);
    let made: BTreeSet<String> = (0..5).map(|_| organization.key().id).collect();
    let path = format!("/organizations/{}/keys", organization.id);
    for limit in [2, 5, 100] {
        let rows = pages(target, &path, limit);
        let ids: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        assert_eq!(ids.len(), made.len(), "each key once, by pages of {limit}");
        assert_eq!(ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>(), made);
    }
    let found = pages(target, "/organizations", 1_000);
    assert!(found.iter().any(|row| row["id"] == organization.id));
}

pub(super) fn bad_pages_are_400(target: &Target) {
    let organization = Organization::new(target);
    for list in ["", "/keys", "/audit"] {
        let path = match list {
            "" => "/organizations".to_owned(),
            rest => format!("/organizations/{}{rest}", organization.id),
        };
        for (query, field) in
            [("limit=0", "limit"), ("limit=many", "limit"), ("cursor=%21nonsense", "cursor")]
        {
            let refused = target.admin("GET", &format!("{path}?{query}")).send();
            names(&refused, field, &Value::from(format!("{path}?{query}")));
        }
    }
}

#[track_caller]
fn names(refused: &Answer, field: &str, sent: &Value) {
    assert_eq!(refused.status, 400, "{sent}: {}", refused.text());
    let body = refused.json();
    let problem = body["type"].as_str().unwrap_or_default();
    assert!(problem.starts_with(PROBLEMS), "{body}");
    let detail = body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(field), "{sent}: `{detail}` does not name {field}");
}
