//! One authority per organization: with its ledger moved to Durable Objects, native gateways refuse its
//! metered requests and nothing else, and take them again when it is back.

use driftlock_e2e::admin::Organization;
use serde_json::{Value, json};

use super::CONFIG;
use super::support::backend::Backend;
use super::support::fleet::Fleet;
use super::support::metered::{Client, Outcome};

#[test]
fn the_other_kind_refuses_metered_requests() {
    let backend = Backend::start();
    let fleet = Fleet::start_before(2, CONFIG, &backend.url);
    let target = fleet.target(0);
    let quota = json!({ "quota": { "included": 1_000, "policy": "block" } });
    let organization = Organization::with(&target, quota);
    let key = organization.key_with(json!({ "requests_per_minute": 100_000_000 })).secret;
    let holder = || organization.admin("GET", "/authority").send().expect(200).json();
    assert_eq!(holder(), json!({ "authority": Value::Null, "lapses_in_ms": 0 }));
    let mut clients: Vec<Client> =
        (0..2).map(|node| Client::new(fleet.listen(node), &key)).collect();
    for client in &mut clients {
        assert!(matches!(client.send(), Outcome::Success(_)));
    }
    assert_eq!(holder()["authority"], "leases", "who comes first");

    let moved = fleet.run(&["org", "authority", &organization.id, "--to", "objects", "--json"]);
    let moved: Value = serde_json::from_str(&moved).expect("JSON");
    assert_eq!(moved, json!({ "authority": "objects", "lapses_in_ms": 0 }), "waited for leases");
    for client in &mut clients {
        assert_eq!(client.send(), Outcome::Refused(503, Some(60)));
    }
    let refused =
        target.keyed("POST", "/api/v1/anomalies/detect", &key).json(&json!({ "data": [] }));
    let problem = refused.send().expect(503).json();
    let kind = problem["type"].as_str().unwrap_or_default();
    assert!(kind.ends_with("ledger-elsewhere"), "{problem}");
    assert!(matches!(Client::free(fleet.listen(1), &key).send(), Outcome::Success(_)));
    assert_eq!(organization.units(), 2);
    let leased = "select count(*) from driftlock.usage_leases \
                  where until > extract(epoch from clock_timestamp()) * 1000000";
    assert_eq!(fleet.sql(leased), "0");

    let back = fleet.run(&["org", "authority", &organization.id, "--to", "leases"]);
    assert_eq!(back.trim(), "leases");
    for client in &mut clients {
        assert!(matches!(client.send(), Outcome::Success(_)), "at once");
    }
    let entries = organization.admin("GET", "/audit?limit=1000").send().expect(200).text();
    assert_eq!(entries.matches("organization.authority").count(), 2, "{entries}");
    let verdict = organization.admin("GET", "/audit/verify").send().expect(200).json();
    assert_eq!(verdict["ok"], true, "{verdict}");
    let wrong = organization.admin("POST", "/authority").json(&json!({ "to": "nobody" }));
    assert_eq!(wrong.send().status, 400);
}
