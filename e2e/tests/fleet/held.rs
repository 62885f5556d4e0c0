//! A crashed gateway withholds the units of its lease until the lease expires.

use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::Organization;
use driftlock_e2e::poll::{DEADLINE, within};
use serde_json::json;

use super::CONFIG;
use super::support::backend::Backend;
use super::support::fleet::Fleet;
use super::support::metered::{Client, Outcome};

const CAP: usize = 200;
/// A lease expires after 2 s; asking for the next one takes the rest.
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
    // The killed gateway neither renews nor returns its lease, so the row stays until it is
    // replaced.
    let row = fleet.sql("select node_id, units from driftlock.usage_leases");
    let (node, held) = row.split_once('|').expect("two columns");
    let held: usize = held.parse().expect("units");
    assert!((1..=CAP / 8).contains(&held), "an eighth at most: {held}");
    let is_leased = format!(
        "select count(*) from driftlock.usage_leases where node_id = '{node}' \
         and until > extract(epoch from clock_timestamp()) * 1000000"
    );

    let (mut successes, mut back) = (1, None);
    loop {
        match other.send() {
            Outcome::Success(_) => {
                successes += 1;
                if successes > CAP - held && back.is_none() {
                    back = Some(killed.elapsed());
                    // Read after the answer: a lease valid now was valid when the unit was granted.
                    assert_eq!(fleet.sql(&is_leased), "0", "a leased unit was given twice");
                }
            }
            Outcome::Exceeded => break,
            Outcome::Held => thread::park_timeout(Duration::from_millis(10)),
            outcome => panic!("{outcome:?}"),
        }
        assert!(killed.elapsed() < 2 * DEADLINE, "{successes} successes");
    }
    assert_eq!(successes, CAP);
    let back = back.expect("all of it came back");
    eprintln!("figure units that a crashed gateway held, of {CAP} = {held}");
    within("a crashed gateway held units for", back, HELD_MAX);
}
