//! A project's tables may have unique constraints. A write that violates one fails and is not lost.

use std::sync::Arc;

use driftlock_domain::config::Durability;
use driftlock_postgres::{DatabaseUrl, Timing, migrate, open};
use driftlock_testkit::conformance::{Constrained, run_constrained};
use driftlock_testkit::postgres::Cluster;

/// Tables of an existing project.
const PUBLIC: [&str; 7] = [
    "api_keys",
    "audit_logs",
    "billing_customers",
    "invoices_mirror",
    "organizations",
    "stripe_events",
    "usage_counters",
];

#[test]
fn a_constraint_that_is_not_ours_loses_nothing() {
    let cluster = Arc::new(Cluster::start());
    let template = cluster.database(None);
    migrate(&url(&cluster, &template)).expect("migrated");
    let cases = run_constrained(|table| {
        let database = cluster.database(Some(&template));
        let schema = if PUBLIC.contains(&table) { "public" } else { "driftlock" };
        let add = format!("create unique index foreign_one on {schema}.{table} ((true))");
        cluster.sql(&database, &add);
        let store = open(&url(&cluster, &database), Timing::Caller, Durability::Fsync);
        let drop = format!("drop index {schema}.foreign_one");
        let at = Arc::clone(&cluster);
        let lift = Box::new(move || {
            at.sql(&database, &drop);
        });
        Constrained { store: store.expect("opens"), lift }
    });
    assert_eq!(cases, 12);
}

fn url(cluster: &Cluster, database: &str) -> DatabaseUrl {
    DatabaseUrl::parse(&cluster.url(database)).expect("a URL")
}
