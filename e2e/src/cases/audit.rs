//! The audit log: what is in it, and that it cannot be changed unseen (I9).

use serde_json::{Value, json};

use crate::admin::{DETECT, LIST, Organization, pages, two_lines, unique};
use crate::answer::Answer;
use crate::poll::eventually;
use crate::target::Target;

pub(super) fn a_metered_request_is_in_the_log_at_once(target: &Target) {
    let organization = Organization::new(target);
    let (key, id) = (organization.key(), unique("audit"));
    let call = key.call("POST", DETECT).header("x-request-id", &id);
    call.json(&two_lines()).send().expect(200);
    let entry = find(&organization, |entry| entry["request_id"] == *id).expect("the entry");
    assert_eq!(entry["actor"], key.id, "{entry}");
    assert_eq!(entry["action"], "request", "{entry}");
    assert_eq!(entry["resource"], format!("POST {DETECT}"), "{entry}");
    assert_eq!(entry["outcome"], "200", "{entry}");
    assert!(entry["ip"].as_str().is_some_and(|ip| !ip.is_empty()), "{entry}");
    assert!(entry["details"].is_object(), "{entry}");
}

pub(super) fn a_free_request_is_in_the_log_soon(target: &Target) {
    let organization = Organization::new(target);
    let (key, id) = (organization.key(), unique("audit"));
    key.call("GET", LIST).header("x-request-id", &id).send().expect(200);
    let entry = eventually("the entry of a free request", || {
        find(&organization, |entry| entry["request_id"] == *id)
    });
    assert_eq!(entry["resource"], format!("GET {LIST}"), "{entry}");
    assert_eq!(entry["outcome"], "200", "{entry}");
}

/// A flood of denials writes a bounded number of rows, and the count includes every denial.
pub(super) fn denials_coalesce_with_their_count(target: &Target) {
    const DENIALS: u64 = 40;
    let organization = Organization::new(target);
    let key = organization.key_with(json!({"scopes": []}));
    for _ in 0..DENIALS {
        key.get(LIST).problem(403, "scope-missing");
    }
    let rows = eventually("every denial is counted", || {
        let log = organization.audit();
        let denied = |entry: &&Value| entry["outcome"] == "scope-missing";
        let rows: Vec<Value> = log.iter().filter(denied).cloned().collect();
        let count = |row: &Value| row["details"]["count"].as_u64().unwrap_or(1);
        (rows.iter().map(count).sum::<u64>() >= DENIALS).then_some(rows)
    });
    assert!(rows.len() as u64 <= DENIALS / 4, "{} rows", rows.len());
    for row in &rows {
        assert_eq!((&row["actor"], &row["action"]), (&json!(key.id), &json!("request")), "{row}");
        assert_eq!(row["resource"], format!("GET {LIST}"), "{row}");
    }
}

pub(super) fn what_an_operator_does_is_in_the_log(target: &Target) {
    let organization = Organization::new(target);
    let key = organization.key();
    organization.patch(&json!({"requests_per_minute": 500}));
    key.admin("POST", "/rotate").json(&json!({"grace_seconds": 60})).send().expect(201);
    key.admin("POST", "/revoke").send().expect(200);
    let log = organization.audit();
    let actions: Vec<(&str, &str)> = log
        .iter()
        .map(|entry| {
            assert_eq!(entry["actor"], "admin", "{entry}");
            assert_eq!(entry["outcome"], "ok", "{entry}");
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            (text("action"), text("resource"))
        })
        .collect();
    let wanted = [
        ("organization.create", organization.id.as_str()),
        ("key.create", key.id.as_str()),
        ("organization.update", organization.id.as_str()),
        ("key.rotate", key.id.as_str()),
        ("key.revoke", key.id.as_str()),
    ];
    assert_eq!(actions, wanted);
}

/// A change is audited with old and new value; of a name, which may be a person's, only the fact.
pub(super) fn a_change_is_audited_with_its_old_and_new_values(target: &Target) {
    let organization = Organization::with(target, json!({"plan": "standard"}));
    organization.patch(&json!({
        "name": "Somebody's own",
        "quota": {"included": 300_000, "spend_cap_micros": 5_000_000},
        "stripe_customer_id": "cus_e2e_audit",
    }));
    organization.patch(&json!({"quota": {"included": null}, "requests_per_minute": 600}));
    let rows = organization.audit();
    let details = |row: &Value| match &row["details"] {
        Value::String(text) => serde_json::from_str(text).expect("details are JSON"),
        object => object.clone(),
    };
    let changes: Vec<Value> = rows.iter().map(|row| details(row)["changes"].clone()).collect();
    assert_eq!(changes[0], json!({"plan": {"old": null, "new": "standard"}}));
    let wanted = json!({
        "quota.included": {"old": null, "new": 300_000},
        "quota.spend_cap_micros": {"old": null, "new": 5_000_000},
        "stripe_customer_id": {"old": null, "new": "cus_e2e_audit"},
    });
    assert_eq!(changes[1], wanted);
    let wanted = json!({
        "quota.included": {"old": 300_000, "new": null},
        "requests_per_minute": {"old": null, "new": 600},
    });
    assert_eq!(changes[2], wanted);
    assert_eq!(details(&rows[1])["fields"][0], "name");
    assert!(!rows[1].to_string().contains("Somebody"), "{}", rows[1]);
}

pub(super) fn entries_are_numbered_and_chained(target: &Target) {
    let organization = busy(target);
    let log = pages(target, &format!("/organizations/{}/audit", organization.id), 2);
    check_chain(&log);
    let other = Organization::new(target).audit();
    check_chain(&other);
    assert_ne!(log[0]["prev_hash"], other[0]["prev_hash"], "no two chains begin alike");
    let names = log[0].as_object().map(|entry| entry.keys().cloned().collect::<Vec<_>>());
    let wanted = [
        "action",
        "actor",
        "at",
        "details",
        "hash",
        "ip",
        "outcome",
        "prev_hash",
        "request_id",
        "resource",
        "seq",
    ];
    assert_eq!(names, Some(wanted.map(str::to_owned).to_vec()));
}

pub(super) fn an_untouched_log_is_verified(target: &Target) {
    let organization = busy(target);
    let verdict = organization.admin("GET", "/audit/verify").send().expect(200).json();
    assert_eq!((&verdict["ok"], &verdict["first_bad_seq"]), (&json!(true), &Value::Null));
    let (seq, hash) = head_of(&verdict["head"]);
    assert_eq!(verdict["entries"].as_u64(), Some(seq), "{verdict}");
    assert_eq!(hash.len(), 64, "{verdict}");
}

pub(super) fn an_export_is_ndjson_and_states_its_head(target: &Target) {
    let organization = busy(target);
    let export = organization.admin("GET", "/audit/export").send();
    assert!(export.expect(200).required("content-type").starts_with("application/x-ndjson"));
    let (entries, head) = exported(&export);
    check_chain(&entries);
    let last = entries.last().expect("entries");
    let (seq, hash) = head_of(&head);
    assert_eq!((Some(seq), Some(hash.as_str())), (last["seq"].as_u64(), last["hash"].as_str()));
    let log = organization.audit();
    assert_eq!(log[..entries.len()], entries[..], "an export and a list show the same");

    // Entries were added since: the stated head is still in the chain.
    organization.key().detect().expect(200);
    let verify = |head: &str| {
        let path = format!("/audit/verify?head={head}");
        organization.admin("GET", &path).send().expect(200).json()
    };
    let verdict = verify(&format!("{seq}:{hash}"));
    assert_eq!(verdict["ok"], true, "{verdict}");
    assert!(verdict["entries"].as_u64() > Some(seq), "{verdict}");
    // A head that the log never had, and one beyond its end.
    for forged in [format!("{seq}:{}", "0".repeat(64)), format!("9999:{hash}")] {
        let verdict = verify(&forged);
        assert_eq!(verdict["ok"], false, "{verdict}");
        assert!(verdict["first_bad_seq"].is_u64(), "{verdict}");
    }
}

pub(super) fn a_malformed_head_is_400(target: &Target) {
    let organization = Organization::new(target);
    // The last two are numbers that no store can hold.
    let hash = "ab".repeat(32);
    let too_great = [1 << 63, u64::MAX].map(|seq| format!("{seq}:{hash}"));
    for head in ["latest".to_owned()].into_iter().chain(too_great) {
        let refused = organization.admin("GET", &format!("/audit/verify?head={head}")).send();
        assert!(refused.expect(400).text().contains("head"), "{head}: {}", refused.text());
    }
}

pub(super) fn organizations_do_not_see_each_other(target: &Target) {
    let (one, other) = (busy(target), busy(target));
    let text = other.admin("GET", "/audit/export").send().expect(200).text();
    assert!(!text.contains(&one.id) && text.contains(&other.id));
}

/// An organization with some entries of every kind.
fn busy(target: &Target) -> Organization<'_> {
    let organization = Organization::new(target);
    let key = organization.key();
    key.detect().expect(200);
    key.get(LIST).expect(200);
    key.admin("POST", "/revoke").send().expect(200);
    key.get(LIST).problem(401, "key-revoked");
    eventually("free requests and denials are written", || {
        let wanted = |outcome: &str| find(&organization, |entry| entry["outcome"] == outcome);
        let listed = find(&organization, |entry| entry["resource"] == format!("GET {LIST}"));
        wanted("key-revoked").and(listed)
    });
    organization
}

fn find(organization: &Organization<'_>, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
    organization.audit().into_iter().find(wanted)
}

fn check_chain(entries: &[Value]) {
    // The first entry follows the organization's genesis hash.
    let mut before = entries[0]["prev_hash"].clone();
    assert_eq!(before.as_str().map(str::len), Some(64), "{}", entries[0]);
    for (entry, seq) in entries.iter().zip(1_u64..) {
        assert_eq!(entry["seq"], seq, "{entry}");
        assert_eq!(entry["prev_hash"], before, "{entry}");
        before = entry["hash"].clone();
    }
}

/// The parts of a head, `SEQ:HASH`.
fn head_of(head: &Value) -> (u64, String) {
    let (seq, hash) = head.as_str().and_then(|text| text.split_once(':')).expect("SEQ:HASH");
    (seq.parse().expect("a number"), hash.to_owned())
}

/// An export's entries, and the head that its last line states.
fn exported(export: &Answer) -> (Vec<Value>, Value) {
    let text = export.text();
    let line = |line: &str| serde_json::from_str::<Value>(line).expect("a line is JSON");
    let mut lines: Vec<Value> = text.lines().map(line).collect();
    let head = lines.pop().expect("an export has a last line");
    (lines, head["head"].clone())
}
