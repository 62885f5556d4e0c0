//! One kind of ledger host meters an organization (I4 between native nodes and Workers). The other
//! kind refuses, by its cached record and by the database's check.

use driftlock_e2e::admin::{LIST, Organization};
use driftlock_e2e::poll::eventually;
use serde_json::{Value, json};

use super::CONFIG;
use super::support::backend::Backend;
use super::support::fleet::Fleet;

fn hand_over(organization: &Organization<'_>, to: &str) -> Value {
    let body = json!({ "ledger": to });
    let answer = organization.admin("POST", "/ledger-host").json(&body).send();
    answer.expect(200).json()["ledger"].clone()
}

#[test]
fn what_is_not_counted_here_is_refused_here() {
    let backend = Backend::start();
    let fleet = Fleet::start_before(2, CONFIG, &backend.url);
    let (target, other) = (fleet.target(0), fleet.target(1));

    // No unit is counted yet: the handover happens at once, on every node.
    let organization = Organization::new(&target);
    let key = organization.key();
    let elsewhere = || other.keyed("POST", "/api/v1/anomalies/detect", &key.secret);
    let detect = || elsewhere().json(&json!({ "data": ["a"] })).send();
    assert_eq!(other.keyed("GET", LIST, &key.secret).send().status, 200, "remembered");
    assert_eq!(hand_over(&organization, "objects"), json!({ "kind": "objects" }));
    key.detect().problem(503, "wrong-ledger-host");
    eventually("the other node knows", || (detect().status == 503).then_some(()));
    let refused = detect();
    assert!(refused.number("retry-after") > 0);
    refused.problem(503, "wrong-ledger-host");
    key.get(LIST).expect(200);
    // Even with a stale cached record: the database grants no lease and settles nothing.
    let id = organization.id.trim_start_matches("org_");
    let lease = json!({
        "organization": id, "node": id, "start": 0, "end": 4_000_000_000_000_000_u64,
        "included": 10, "cap": 10, "keep": 0, "want": 1, "ttl": 1_000_000,
    });
    let granted = fleet.sql(&format!("select driftlock_lease('{lease}')"));
    assert_eq!(granted, r#"{"held_by": "objects"}"#);
    // Objects may have counted units meanwhile: back only at the period's end.
    let back = hand_over(&organization, "leases");
    assert_eq!((&back["kind"], &back["next"]["kind"]), (&json!("objects"), &json!("leases")));
    assert!(back["next"]["from"].is_string(), "{back}");

    // A unit is counted: the handover is planned for the period's end, and can be cancelled.
    let organization = Organization::new(&target);
    let key = organization.key();
    key.detect().expect(200);
    let agreed = hand_over(&organization, "objects");
    assert_eq!((&agreed["kind"], &agreed["next"]["kind"]), (&json!("leases"), &json!("objects")));
    key.detect().expect(200);
    assert_eq!(hand_over(&organization, "leases"), json!({ "kind": "leases" }));
    hand_over(&organization, "objects");
    // Simulates that the period's end has come.
    let id = organization.id.trim_start_matches("org_");
    fleet.sql(&format!(
        "update organizations set ledger = jsonb_set(ledger, '{{next,from}}', to_jsonb(now())) \
         where id = '{id}'"
    ));
    eventually("the handover has come", || (key.detect().status == 503).then_some(()));
    key.detect().problem(503, "wrong-ledger-host");
    let rows = organization.audit();
    let agreed = rows.iter().filter(|row| row["action"] == "organization.ledger_host").count();
    assert_eq!(agreed, 3, "{rows:?}");
}
