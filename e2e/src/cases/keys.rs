//! Authentication: missing, malformed, unknown, expired and revoked keys; rotation.

use serde_json::json;
use time::Duration;

use crate::admin::{HEALTH, Key, LIST, Organization, PLENTY, at};
use crate::poll::eventually;
use crate::raw;
use crate::target::Target;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub(super) fn a_key_is_needed(target: &Target) {
    for path in [LIST, HEALTH] {
        target.request("GET", path).send().problem(401, "unauthenticated");
    }
}

/// The time of use is written a moment after the answer.
pub(super) fn a_request_notes_when_its_key_was_used(target: &Target) {
    let organization = Organization::new(target);
    let (used, idle) = (organization.key(), organization.key());
    used.get(HEALTH).expect(200);
    let noted = |id: &str| {
        let keys = organization.admin("GET", "/keys").send().expect(200).json();
        let keys = keys["data"].as_array().cloned().unwrap_or_default();
        let key = keys.into_iter().find(|key| key["id"] == id).expect("it is listed");
        key["last_used_at"].as_str().map(str::to_owned)
    };
    let at = eventually("the use is noted", || noted(&used.id));
    assert!(at.ends_with('Z'), "{at}");
    assert_eq!(noted(&idle.id), None);
}

pub(super) fn a_malformed_authorization_is_refused(target: &Target) {
    for value in ["Basic dXNlcjpwYXNz", "Bearer", "Bearer two words", "dlk_"] {
        let refused = target.request("GET", LIST).header("authorization", value).send();
        refused.problem(401, "unauthenticated");
    }
}

pub(super) fn two_authorizations_are_refused(target: &Target) {
    let key = Organization::new(target).key();
    let bearer = format!("Bearer {}", key.secret);
    let twice = [("Authorization", bearer.as_str()), ("Authorization", bearer.as_str())];
    raw::head(target, "GET /api/v1/health HTTP/1.1", &twice).problem(401, "unauthenticated");
}

pub(super) fn a_wrong_checksum_is_refused(target: &Target) {
    let mut secret = Organization::new(target).key().secret;
    let last = secret.pop().expect("a key has characters");
    secret.push(if last == '0' { '1' } else { '0' });
    target.keyed("GET", LIST, &secret).send().problem(401, "unauthenticated");
}

pub(super) fn an_unknown_key_is_refused(target: &Target) {
    // The checksum is right, so that it is looked up; a key of another form is too.
    for unknown in [well_formed("000000000000000000000000000e2e"), "sk_live_unknown".to_owned()] {
        target.keyed("GET", LIST, &unknown).send().problem(401, "unauthenticated");
    }
}

pub(super) fn the_scheme_may_be_in_any_case(target: &Target) {
    let key = Organization::new(target).key();
    let value = format!("bearer {}", key.secret);
    let answer = target.request("GET", HEALTH).header("authorization", &value).send();
    answer.expect(200);
}

pub(super) fn an_expired_key_is_refused(target: &Target) {
    let organization = Organization::new(target);
    let soon = json!({"expires_at": at(Duration::seconds(2)), "requests_per_minute": PLENTY});
    let key = organization.key_with(soon);
    eventually("the key expires", || {
        let answer = key.get(HEALTH);
        (answer.status != 200).then(|| answer.problem(401, "key-expired"))
    });
}

pub(super) fn a_key_that_expires_later_passes(target: &Target) {
    let later = json!({"expires_at": at(Duration::hours(1))});
    Organization::new(target).key_with(later).get(LIST).expect(200);
}

pub(super) fn a_revoked_key_is_refused_from_the_next_request_on(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    key.detect().expect(200);
    let revoked = key.admin("POST", "/revoke").send().expect(200).json();
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    key.detect().problem(401, "key-revoked");
    assert_eq!(organization.units(), 1);
}

pub(super) fn a_revoked_key_is_refused_on_free_routes_too(target: &Target) {
    let organization = Organization::new(target);
    let (key, other) = (organization.key(), organization.key());
    key.get(LIST).expect(200);
    key.admin("POST", "/revoke").send().expect(200);
    for path in [LIST, HEALTH] {
        key.get(path).problem(401, "key-revoked");
    }
    other.get(LIST).expect(200);
}

pub(super) fn revoking_twice_changes_nothing(target: &Target) {
    let key = Organization::new(target).key();
    let first = key.admin("POST", "/revoke").send().expect(200).json();
    let second = key.admin("POST", "/revoke").send().expect(200).json();
    assert_eq!(first["revoked_at"], second["revoked_at"]);
}

pub(super) fn after_a_rotation_both_keys_work_for_the_grace_time(target: &Target) {
    let organization = Organization::new(target);
    let old = organization.key_with(json!({
        "name": "ci", "scopes": ["anomalies:read"], "requests_per_minute": 77,
    }));
    let answer = old.admin("POST", "/rotate").json(&json!({"grace_seconds": 3_600})).send();
    let made = answer.expect(201).json();
    let new = Key::read(target, &made);
    assert_ne!((&new.id, &new.secret), (&old.id, &old.secret));
    assert_eq!(made["name"], "ci", "the successor takes over what the key was");
    assert_eq!(made["scopes"], json!(["anomalies:read"]));
    assert_eq!(made["requests_per_minute"], 77);
    for key in [&old, &new] {
        key.get(LIST).expect(200);
    }
}

pub(super) fn after_a_rotation_without_grace_the_old_key_is_refused(target: &Target) {
    let old = Organization::new(target).key();
    old.detect().expect(200);
    let answer = old.admin("POST", "/rotate").json(&json!({"grace_seconds": 0})).send();
    let new = Key::read(target, &answer.expect(201).json());
    old.detect().problem(401, "key-revoked");
    new.detect().expect(200);
}

/// A key of our form with these 30 characters.
fn well_formed(random: &str) -> String {
    let mut value = crc32fast::hash(random.as_bytes());
    let mut checksum = [0_u8; 6];
    for place in checksum.iter_mut().rev() {
        *place = BASE62[(value % 62) as usize];
        value /= 62;
    }
    format!("dlk_{random}{}", String::from_utf8_lossy(&checksum))
}
