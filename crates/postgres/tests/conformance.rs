//! The PostgreSQL store passes the conformance suite, over a real server.

use driftlock_domain::config::Durability;
use driftlock_postgres::{DatabaseUrl, Timing, migrate, open};
use driftlock_testkit::conformance;
use driftlock_testkit::postgres::Cluster;

#[test]
fn the_same_cases_as_every_store() {
    let cluster = Cluster::start();
    let template = cluster.database(None);
    migrate(&url(&cluster, &template)).expect("migrated");
    let make = || {
        let database = cluster.database(Some(&template));
        open(&url(&cluster, &database), Timing::Caller, Durability::Fsync).expect("opens")
    };
    let (cases, shared) = (conformance::run(make), conformance::run_shared(make));
    eprintln!("{cases} cases over PostgreSQL, {shared} of shared stores");
    assert!(cases >= 29, "the suite is whole: {cases}");
}

fn url(cluster: &Cluster, database: &str) -> DatabaseUrl {
    DatabaseUrl::parse(&cluster.url(database)).expect("a URL")
}
