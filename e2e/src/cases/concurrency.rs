//! The cap holds to the unit under load (I4), and each success has its receipt (I1).

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

use serde_json::json;

use crate::admin::{Key, Organization};
use crate::answer::PROBLEMS;
use crate::poll::DEADLINE;
use crate::target::Target;

const THREADS: usize = 32;
const CAP: usize = 50;

pub(super) fn a_cap_holds_to_the_unit(target: &Target) {
    let organization = Organization::with(target, json!({"quota": {"included": CAP}}));
    // Two keys, because the quota is the organization's.
    let keys = [organization.key(), organization.key()];
    let receipts: Vec<String> = thread::scope(|scope| {
        let spend = |index: usize| {
            let key = &keys[index % keys.len()];
            scope.spawn(move || until_used_up(key))
        };
        let threads: Vec<_> = (0..THREADS).map(spend).collect();
        threads.into_iter().flat_map(|one| one.join().expect("a thread passes")).collect()
    });
    assert_eq!(receipts.len(), CAP);
    assert_eq!(receipts.iter().collect::<BTreeSet<_>>().len(), CAP, "receipts are unique");
    let usage = organization.usage();
    assert_eq!((&usage["units"], &usage["overage_units"]), (&json!(CAP), &json!(0)));
    for number in &receipts {
        let receipt = target.admin("GET", &format!("/receipts/{number}")).send();
        assert_eq!(receipt.expect(200).json()["organization_id"], organization.id);
    }
}

/// The receipts that one client gets before the units are used up.
fn until_used_up(key: &Key<'_>) -> Vec<String> {
    let began = Instant::now();
    let mut receipts = Vec::new();
    while began.elapsed() < DEADLINE {
        let answer = key.detect();
        if answer.status == 200 {
            receipts.push(answer.receipt());
            continue;
        }
        // Units that other requests hold may be released; used units are not.
        answer.expect(429);
        if answer.json()["type"] != format!("{PROBLEMS}quota-held") {
            answer.problem(429, "quota-exceeded");
            return receipts;
        }
        assert_eq!(answer.number("retry-after"), 1);
    }
    panic!("the units are not used up within {DEADLINE:?}");
}
