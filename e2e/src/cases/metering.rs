//! What is charged, and what is not.

use serde_json::json;

use crate::admin::{ANALYZE, DETECT, HEALTH, LIST, Organization, two_lines, unique};
use crate::target::Target;

pub(super) fn a_detection_is_one_unit_and_its_receipt_tells_so(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    let request_id = unique("e2e");
    let call = key.call("POST", DETECT).header("x-request-id", &request_id);
    let answer = call.json(&two_lines()).send();
    assert_eq!(answer.expect(200).json()["success"], true);
    assert_eq!(organization.units(), 1);

    let number = answer.receipt();
    let receipt = target.admin("GET", &format!("/receipts/{number}")).send().expect(200).json();
    let at = receipt["at"].as_str().unwrap_or_default().to_owned();
    assert!(at.ends_with('Z'), "{receipt}");
    let wanted = json!({
        "id": number,
        "organization_id": organization.id,
        "key_id": key.id,
        "route": format!("POST {DETECT}"),
        "units": 1,
        "request_id": request_id,
        "at": at,
    });
    assert_eq!(receipt, wanted);
}

pub(super) fn both_metered_routes_draw_from_one_pool(target: &Target) {
    let organization = Organization::with(target, json!({"quota": {"included": 2}}));
    let (one, two) = (organization.key(), organization.key());
    one.detect().expect(200);
    let analyzed = two.call("POST", ANALYZE).json(&two_lines()).send();
    let receipt = analyzed.expect(200).receipt();
    let receipt = target.admin("GET", &format!("/receipts/{receipt}")).send().expect(200).json();
    assert_eq!(receipt["route"], format!("POST {ANALYZE}"));
    for key in [&one, &two] {
        key.detect().problem(429, "quota-exceeded");
    }
    assert_eq!(organization.units(), 2);
}

pub(super) fn a_backend_s_refusal_charges_nothing_and_passes_through(target: &Target) {
    let organization = Organization::with(target, json!({"quota": {"included": 1}}));
    let key = organization.key();
    for body in [json!({"data": 1}), json!({}), json!({"data": "x", "sensitivity": 7})] {
        let refused = key.call("POST", DETECT).json(&body).send();
        refused.free().expect(400);
        assert!(!refused.text().contains("malformed-request"), "the backend's own words");
    }
    let broken = key.call("POST", DETECT).bytes("application/json", b"{".to_vec()).send();
    broken.free().expect(400);
    assert_eq!(organization.units(), 0);
    // Their holds were released: the one unit is still there.
    key.detect().expect(200).receipt();
    assert_eq!(organization.units(), 1);
}

pub(super) fn the_other_routes_are_free(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    key.get(LIST).free().expect(200);
    key.get(HEALTH).free().expect(200);
    key.get("/api/v1/anomalies/00000000-0000-7000-8000-000000000000").free().expect(404);
    let unknown = "/api/v1/anomalies/00000000-0000-7000-8000-000000000000/resolve";
    let resolved = key.call("PUT", unknown).json(&json!({"resolution_notes": "none"})).send();
    resolved.free().expect(404);
    assert_eq!(organization.units(), 0);
    let listed = key.get("/api/v1/anomalies?page=1&limit=5").expect(200).json();
    assert_eq!(listed["pagination"]["limit"], 5, "the query reaches the backend");
}

pub(super) fn a_backend_s_answer_is_not_changed(target: &Target) {
    let answer = Organization::new(target).key().detect();
    let body = answer.expect(200).json();
    assert_eq!(body["total_events"], 2);
    assert!(body["anomalies"].is_array(), "{body}");
    assert!(answer.required("content-type").starts_with("application/json"));
}
