//! What supabase-js (npm, at the version in package-lock.json) sees of the gateway's tables over a
//! real PostgREST: as a member, as a stranger, anonymously, and as the service.

use std::io::Write;
use std::process::{Command, Stdio};

use driftlock_testkit::jwt;
use driftlock_testkit::node::project;
use driftlock_testkit::supabase::{PUBLISHABLE_KEY, Project, SECRET_KEY};
use serde_json::{Value, json};

mod support {
    #[expect(dead_code, reason = "this test has no gateway, only its database")]
    pub(crate) mod fleet;
    pub(crate) mod process;
}
use support::fleet::Fleet;

const A: &str = "aaaaaaaa-0000-4000-8000-000000000000";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000000";
const MEMBER: &str = "a0000000-0000-4000-8000-000000000001";
const STRANGER: &str = "c0000000-0000-4000-8000-000000000001";
/// PostgreSQL's code of "permission denied".
const DENIED: &str = "42501";
/// Views over lists in JSON: PostgreSQL refuses to write to them before it looks at rights.
const COMPUTED_VIEWS: [&str; 2] = ["subscriptions", "dunning_states"];
const NOT_UPDATABLE: &str = "55000";

/// A row of each table for two organizations.
fn fill(fleet: &Fleet) {
    for (number, (organization, user)) in
        [(A, MEMBER), (B, "b0000000-0000-4000-8000-000000000001")].into_iter().enumerate()
    {
        fleet.sql(&format!(
            "insert into organizations (id, name, purchases) values ('{organization}', 'x',
                '{{\"subscriptions\":[{{\"id\":\"sub_{number}\",\"status\":\"past_due\"}}]}}');
             insert into organization_members values ('{organization}', '{user}', 'owner');
             insert into api_keys (id, organization_id, key_hash, name)
                values ('{organization}', '{organization}', 'hash {number}', 'first');
             insert into usage_counters values
                ('{organization}', 1, 3600, '{organization}', 1, 5, 5);
             insert into audit_logs (organization_id, seq, action) values ('{organization}', 1, 'a');
             insert into invoices_mirror (id, organization_id)
                values ('in_{number}', '{organization}');
             insert into billing_customers (customer, organization_id)
                values ('cus_{number}', '{organization}');
             insert into stripe_events (id) values ('evt_{number}')"
        ));
    }
}

/// A row of each table that the service writes; its first column finds it again.
fn rows_of(organization: &str) -> Value {
    json!({
        "organizations": { "id": organization, "name": "y" },
        "organization_members": { "user_id": organization, "organization_id": organization },
        "api_keys": { "id": organization, "organization_id": organization,
            "key_hash": format!("hash of {organization}"), "name": "y" },
        "usage_counters": { "organization_id": organization, "tally_id": 9, "hour": 7200,
            "key_id": organization, "route_id": 9, "units": 1, "requests": 1 },
        "audit_logs": { "actor": organization, "organization_id": organization, "seq": 9 },
        "invoices_mirror": { "id": organization, "organization_id": organization },
        "billing_customers": { "customer": organization, "organization_id": organization },
        "stripe_events": { "id": organization },
    })
}

/// The script's result for one kind of caller, which tries to write these rows.
fn seen_by(project_url: &str, key: &str, token: Option<String>, writes: &Value) -> Value {
    let input = json!({
        "url": project_url, "key": key, "token": token, "organization": A, "writes": writes,
    });
    let root = project();
    let mut node = Command::new("node")
        .arg(root.join("e2e/sdk/supabase.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node.js 20 or newer with npm is needed: https://nodejs.org");
    let mut stdin = node.stdin.take().expect("it is piped");
    stdin.write_all(input.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = node.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the script failed; its message is above");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn each_sees_what_is_its_own() {
    let fleet = Fleet::start_before(0, "", "http://127.0.0.1:9").by_rest();
    fill(&fleet);
    let project: &Project = fleet.project();
    let url = project.url();
    // A member's own organization, so that only its rights can refuse it.
    let mut writes = rows_of(A);
    for name in ["subscriptions", "quota_policy", "dunning_states"] {
        writes[name] = json!({ "organization_id": A });
    }
    let ask = |key: &str, token: Option<String>| seen_by(&url, key, token, &writes);

    let member = ask(PUBLISHABLE_KEY, Some(jwt::of_user(MEMBER)));
    let of_one = json!({
        "organizations": 1, "organization_members": 1, "api_keys": 1, "api_keys.key_hash": DENIED,
        "usage_counters": 1, "audit_logs": 1, "invoices_mirror": 1, "subscriptions": 1,
        "quota_policy": 1, "dunning_states": 1, "billing_customers": DENIED, "stripe_events": DENIED,
    });
    assert_eq!(member["rows"], of_one, "a member its organization's, and no key's hash");
    let stranger = ask(PUBLISHABLE_KEY, Some(jwt::of_user(STRANGER)));
    let of_none = json!({
        "organizations": 0, "organization_members": 0, "api_keys": 0, "api_keys.key_hash": DENIED,
        "usage_counters": 0, "audit_logs": 0, "invoices_mirror": 0, "subscriptions": 0,
        "quota_policy": 0, "dunning_states": 0, "billing_customers": DENIED, "stripe_events": DENIED,
    });
    assert_eq!(stranger["rows"], of_none, "who is no member sees nothing");
    let anonymous = ask(PUBLISHABLE_KEY, None);
    let denied = |value: &Value| value == DENIED;
    assert!(anonymous["rows"].as_object().expect("rows").values().all(denied), "{anonymous}");
    for caller in [&member, &stranger, &anonymous] {
        let tried = caller["writes"].as_object().expect("writes");
        assert_eq!(tried.len(), 11, "every table: {caller}");
        for (name, steps) in tried {
            let code = if COMPUTED_VIEWS.contains(&name.as_str()) { NOT_UPDATABLE } else { DENIED };
            assert_eq!(*steps, json!([code, code, code]), "{name}: {caller}");
        }
        assert!(caller["calls"].as_object().expect("calls").values().all(denied), "{caller}");
    }

    let own = rows_of("cccccccc-0000-4000-8000-000000000000");
    let service = seen_by(&url, SECRET_KEY, None, &own);
    let written = service["writes"].as_object().expect("writes");
    assert_eq!(written.len(), 8, "{service}");
    assert!(
        written.values().all(|steps| *steps == json!([1, 1, 1])),
        "the service writes: {service}"
    );
    let rows = service["rows"].as_object().expect("rows");
    assert!(rows.values().all(|count| *count == 2), "the service sees all: {service}");
    let calls = service["calls"].as_object().expect("calls");
    assert!(calls.values().all(|answer| answer == "answered"), "{service}");
    let table = |name: &str, seen: &Value| eprintln!("{name:<9} {}", seen["rows"]);
    table("member", &member);
    table("stranger", &stranger);
    table("anonymous", &anonymous);
    table("service", &service);
}
