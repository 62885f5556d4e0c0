//! One kind of ledger counts an organization's units (I4 between native nodes and Workers): the other
//! kind refuses, by what it knows and by what the database says.

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

    // Nothing is counted yet: at once, on every node.
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
    // Whatever a node remembers: the database grants and settles nothing.
    let id = organization.id.trim_start_matches("org_");
    let lease = json!({
        "organization": id, "node": id, "start": 0, "end": 4_000_000_000_000_000_u64,
        "included": 10, "cap": 10, "keep": 0, "want": 1, "ttl": 1_000_000,
    });
    let granted = fleet.sql(&format!("select driftlock_lease('{lease}')"));
    assert_eq!(granted, r#"{"held_by": "objects"}"#);
    // Objects may have counted meanwhile: back at the end of the period only.
    let back = hand_over(&organization, "leases");
    assert_eq!((&back["kind"], &back["next"]["kind"]), (&json!("objects"), &json!("leases")));
    assert!(back["next"]["from"].is_string(), "{back}");

    // A unit is counted: from the end of the period on, and off again.
    let organization = Organization::new(&target);
    let key = organization.key();
    key.detect().expect(200);
    let agreed = hand_over(&organization, "objects");
    assert_eq!((&agreed["kind"], &agreed["next"]["kind"]), (&json!("leases"), &json!("objects")));
    key.detect().expect(200);
    assert_eq!(hand_over(&organization, "leases"), json!({ "kind": "leases" }));
    hand_over(&organization, "objects");
    // The end of the period, as far as the agreement goes.
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
