//! The conformance suite of all stores, over a real PostgREST.

use std::cell::RefCell;
use std::sync::Arc;

use driftlock_gateway::ports::Directory;
use driftlock_postgres::{DatabaseUrl, Timing, migrate};
use driftlock_supabase::{Access, check, store};
use driftlock_testkit::http::BlockingHttp;
use driftlock_testkit::postgres::Cluster;
use driftlock_testkit::supabase::{Project, SECRET_KEY};
use driftlock_testkit::{conformance, jwt, make};
use futures_executor::block_on;

#[test]
fn the_same_cases_as_every_store() {
    let cluster = Cluster::start();
    let template = cluster.database(None);
    migrate(&url(&cluster, &template)).expect("migrated");
    // Each project has its own database; the projects run until the suite ends.
    let projects = RefCell::new(Vec::new());
    let make = || {
        let database = cluster.database(Some(&template));
        let project = Project::start(&cluster.url(&database));
        let access = Access::new(&project.url(), SECRET_KEY).expect("both are right");
        let store = store(BlockingHttp::default(), Arc::new(access), Timing::Caller);
        block_on(check(&store)).expect("it is of this version");
        projects.borrow_mut().push(project);
        store
    };
    let (cases, shared) = (conformance::run(make), conformance::run_shared(make));
    eprintln!("{cases} cases over PostgREST, {shared} of shared stores");
    assert!(cases >= 29, "the suite is complete: {cases}");
}

#[test]
fn both_kinds_of_the_services_key_are_accepted_and_a_forged_one_is_an_error() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    migrate(&url(&cluster, &database)).expect("migrated");
    let project = Project::start(&cluster.url(&database));
    let open = |key: &str| {
        let access = Access::new(&project.url(), key).expect("both are right");
        store(BlockingHttp::default(), Arc::new(access), Timing::Caller)
    };
    let jwt = jwt::of_role("service_role");
    for (number, key) in [(1, SECRET_KEY), (2, &*jwt)] {
        let store = open(key);
        block_on(check(&store)).expect("it is of this version");
        let made = make::organization(number);
        block_on(store.create_organization(&made, make::audit("made"))).expect("it writes");
        assert_eq!(block_on(store.organization(made.id)).expect("it reads"), Some(made));
    }
    let (signed, _) = jwt.rsplit_once('.').expect("a signature");
    let forged = format!("{signed}.{}", "A".repeat(43));
    let refused = block_on(check(&open(&forged))).expect_err("it is forged").cause;
    assert!(refused.contains("ENV_SUPABASE_SERVICE_ROLE_KEY"), "{refused}");
    assert!(!refused.contains(&forged), "I8");
}

#[test]
fn a_schema_made_by_changed_migrations_is_an_error() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    migrate(&url(&cluster, &database)).expect("migrated");
    let change = "update driftlock.migrations set checksum = repeat('0', 64) where version = 2";
    cluster.sql(&database, change);
    let project = Project::start(&cluster.url(&database));
    let access = Access::new(&project.url(), SECRET_KEY).expect("both are right");
    let store = store(BlockingHttp::default(), Arc::new(access), Timing::Caller);
    let refused = block_on(check(&store)).expect_err("it was changed").cause;
    assert!(refused.contains("0002_access"), "{refused}");
}

fn url(cluster: &Cluster, database: &str) -> DatabaseUrl {
    DatabaseUrl::parse(&cluster.url(database)).expect("a URL")
}
