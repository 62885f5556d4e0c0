//! What a crashed gateway holds back: its lease's units, for as long as that lives.

use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::Organization;
use serde_json::json;

use super::CONFIG;
use super::support::backend::Backend;
use super::support::fleet::Fleet;
use super::support::metered::{Client, Outcome};

const CAP: usize = 200;
/// A lease's life, and what a busy machine adds.
const HELD_MAX: Duration = Duration::from_millis(2_500);

#[test]
fn what_a_crashed_gateway_holds_is_back_within_a_leases_life() {
    let backend = Backend::start();
    let mut fleet = Fleet::start_before(2, CONFIG, &backend.url);
    let target = fleet.target(1);
    let quota = json!({ "quota": { "included": CAP, "policy": "block" } });
    let organization = Organization::with(&target, quota);
    let key = organization.key_with(json!({ "requests_per_minute": 100_000_000 })).secret;
    let mut other = Client::new(fleet.listen(1), &key);
    assert!(matches!(Client::new(fleet.listen(0), &key).send(), Outcome::Success(_)));
    fleet.kill(0);
    let killed = Instant::now();
    let held: usize =
        fleet.sql("select sum(units) from driftlock.usage_leases").parse().expect("units");
    assert!((1..=CAP / 8).contains(&held), "an eighth at most: {held}");

    let (mut successes, mut back, mut refused) = (1, None, 0);
    loop {
        match other.send() {
            Outcome::Success(_) => {
                successes += 1;
                if successes > CAP - held && back.is_none() {
                    back = Some(killed.elapsed());
                }
            }
            Outcome::Exceeded => break,
            Outcome::Held => {
                refused += 1;
                thread::park_timeout(Duration::from_millis(10));
            }
            outcome => panic!("{outcome:?}"),
        }
        assert!(killed.elapsed() < Duration::from_secs(20), "{successes} successes");
    }
    let back = back.expect("all of it came back");
    assert_eq!(successes, CAP);
    assert!(refused > 0, "meanwhile they were held");
    assert!(back <= HELD_MAX, "{back:?}");
    eprintln!("a crashed gateway held {held} of {CAP} units for {back:?}");
}
