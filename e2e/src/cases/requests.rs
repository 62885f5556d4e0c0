//! Request ids, problems, and the headers that a client may not forge.

use serde_json::json;

use crate::admin::{DETECT, HEALTH, LIST, Organization, unique};
use crate::cases::anomalies::{anomaly_ids, burst};
use crate::target::Target;

pub(super) fn a_harmless_request_id_is_taken_over(target: &Target) {
    let key = Organization::new(target).key();
    let longest = "a".repeat(128);
    for id in [unique("A-1_b.c").as_str(), longest.as_str()] {
        let answer = key.call("GET", HEALTH).header("x-request-id", id).send();
        assert_eq!(answer.expect(200).required("x-request-id"), id);
    }
}

pub(super) fn any_other_request_id_is_replaced(target: &Target) {
    let key = Organization::new(target).key();
    let too_long = "a".repeat(129);
    for id in ["a b", "a/b", "{}", too_long.as_str()] {
        let answer = key.call("GET", HEALTH).header("x-request-id", id).send();
        let made = answer.expect(200).required("x-request-id");
        assert!(made != id && (1..=128).contains(&made.len()), "{made}");
    }
    let twice = key.call("GET", HEALTH).header("x-request-id", "a").header("x-request-id", "a");
    assert_ne!(twice.send().expect(200).required("x-request-id"), "a");
}

pub(super) fn a_request_without_an_id_is_given_one(target: &Target) {
    let key = Organization::new(target).key();
    let (one, two) = (key.get(HEALTH), key.get(HEALTH));
    assert_ne!(one.required("x-request-id"), two.required("x-request-id"));
}

/// `Answer::problem` checks the form; this case checks every member, with the client's request id.
pub(super) fn a_problem_has_the_form_of_rfc_9457(target: &Target) {
    let id = unique("problem");
    let refused = target.request("GET", LIST).header("x-request-id", &id).send();
    refused.problem(401, "unauthenticated");
    let body = refused.json();
    assert_eq!(body["instance"], id);
    let members = body.as_object().map(|body| body.keys().cloned().collect::<Vec<_>>());
    let wanted = ["detail", "instance", "status", "title", "type"].map(str::to_owned).to_vec();
    assert_eq!(members, Some(wanted));
    assert_eq!(refused.required("cache-control"), "no-store");
}

pub(super) fn a_forged_organization_is_replaced(target: &Target) {
    let (own, other) = (Organization::new(target), Organization::new(target));
    let call = own.key().call("POST", DETECT).header("x-organization-id", &other.id);
    let found = anomaly_ids(&call.json(&burst("forged")).send().expect(200).json());
    assert!(!found.is_empty(), "the burst is an anomaly");
    let listed = |organization: &Organization<'_>| {
        anomaly_ids(&organization.key().get("/api/v1/anomalies?status=all").expect(200).json())
    };
    assert!(found.iter().all(|id| listed(&own).contains(id)), "it is the caller's own");
    assert!(listed(&other).is_empty(), "and no other organization's");
    for id in &found {
        let path = format!("/api/v1/anomalies/{id}");
        other.key().get(&path).expect(404);
        let forged = other.key().call("GET", &path).header("x-organization-id", &own.id).send();
        forged.expect(404);
    }
    assert_eq!((own.units(), other.units()), (1, 0));
}

pub(super) fn connection_cannot_take_the_organization_away(target: &Target) {
    let organization = Organization::new(target);
    let call = organization.key().call("POST", DETECT);
    let call = call.header("connection", "keep-alive, x-organization-id, x-api-key-id");
    let found = anomaly_ids(&call.json(&burst("connection")).send().expect(200).json());
    let listed = organization.key().get("/api/v1/anomalies?status=all").expect(200).json();
    assert_eq!(anomaly_ids(&listed).len(), found.len());
}

pub(super) fn a_gateway_says_whether_it_lives(target: &Target) {
    for path in ["/healthz", "/readyz"] {
        target.request("GET", path).send().expect(200);
    }
    target.request("GET", "/nothing").send().problem(404, "not-found");
}

pub(super) fn an_ingestion_is_free(target: &Target) {
    let organization = Organization::new(target);
    let body = json!({"stream_id": "e2e", "events": ["line 1", "line 2"]});
    let answer = organization.key().call("POST", "/api/v1/events/ingest").json(&body).send();
    answer.free();
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    assert_eq!(organization.units(), 0);
}
