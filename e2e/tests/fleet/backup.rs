//! A backup by the commands of docs/fleet.md: a gateway on the copy has every unit, receipt and
//! key, an audit log that verifies, and continues to count from there.

use driftlock_e2e::admin::Organization;
use serde_json::json;

use super::CONFIG;
use super::support::backend::Backend;
use super::support::documents::commands;
use super::support::fleet::Fleet;
use super::support::metered::{Client, Outcome};

const UNITS: usize = 20;

#[test]
fn a_copy_has_everything_and_counts_on() {
    let backend = Backend::start();
    let mut fleet = Fleet::start_before(1, CONFIG, &backend.url);
    let target = fleet.target(0);
    let quota = json!({ "quota": { "included": UNITS + 2, "policy": "block" } });
    let organization = Organization::with(&target, quota);
    let key = organization.key().secret;
    let mut client = Client::new(fleet.listen(0), &key);
    let receipts: Vec<String> = (0..UNITS).map(|_| success(client.send())).collect();
    fleet.kill(0);

    let folder = tempfile::tempdir().expect("a folder");
    let copy = fleet.cluster.database(None);
    let urls = [&fleet.database, &copy].map(|name| fleet.cluster.url(name));
    let [from, to] = [("ENV_DATABASE_URL", &*urls[0]), ("RESTORED_DATABASE_URL", &*urls[1])];
    fleet.cluster.shell(folder.path(), &commands("docs/fleet.md", "pg_dump"), &[from, to]);
    fleet.database = copy;
    fleet.add();
    let copy = fleet.target(1);
    let ask = |path: &str| {
        let path = format!("/organizations/{}{path}", organization.id);
        copy.admin("GET", &path).send().expect(200).json()
    };
    assert_eq!(ask("/usage")["units"], UNITS);
    assert_eq!(super::lost(&fleet, &receipts), Vec::<&String>::new());
    let mut client = Client::new(fleet.listen(1), &key);
    // The killed gateway's leased units are free once its lease has expired.
    let mut more = 0;
    driftlock_e2e::poll::eventually("the cap is reached", || {
        more += usize::from(matches!(client.send(), Outcome::Success(_)));
        (more == 2).then_some(())
    });
    assert!(matches!(client.send(), Outcome::Exceeded));
    assert_eq!(ask("/usage")["units"], UNITS + 2);
    assert_eq!(ask("/audit/verify")["ok"], true);
}

fn success(outcome: Outcome) -> String {
    let Outcome::Success(receipt) = outcome else { panic!("{outcome:?}") };
    receipt
}
