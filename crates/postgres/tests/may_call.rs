//! Who may call: some histories of `crates/testkit/tests/may_call.rs` over a real PostgreSQL.
//! `DRIFTLOCK_HISTORIES` sets how many.

use driftlock_domain::config::Durability;
use driftlock_postgres::{DatabaseUrl, Timing, migrate, open};
use driftlock_testkit::may_call::{check, histories};
use driftlock_testkit::postgres::Cluster;

#[test]
fn every_history_is_decided_as_the_table_says() {
    let cluster = Cluster::start();
    let url = |name: &str| DatabaseUrl::parse(&cluster.url(name)).expect("a URL");
    let template = cluster.database(None);
    migrate(&url(&template)).expect("migrated");
    let (mut count, mut decisions) = (0, 0);
    for seed in histories(8) {
        let database = url(&cluster.database(Some(&template)));
        let store = open(&database, Timing::Caller, Durability::Fsync).expect("opens");
        decisions += check(&store, seed).decisions;
        count += 1;
    }
    eprintln!("figure histories over PostgreSQL = {count}");
    eprintln!("figure decisions compared over PostgreSQL = {decisions}");
}
