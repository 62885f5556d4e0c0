//! The same cases as every store, over a real PostgREST.

use std::cell::RefCell;
use std::sync::Arc;

use driftlock_postgres::{DatabaseUrl, Timing, migrate};
use driftlock_supabase::{Access, check, store};
use driftlock_testkit::conformance;
use driftlock_testkit::http::BlockingHttp;
use driftlock_testkit::postgres::Cluster;
use driftlock_testkit::supabase::{Project, SECRET_KEY};
use futures_executor::block_on;

#[test]
fn the_same_cases_as_every_store() {
    let cluster = Cluster::start();
    let template = cluster.database(None);
    migrate(&url(&cluster, &template)).expect("migrated");
    // A project is of one database; they live until the suite ends.
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
    assert!(cases >= 29, "the suite is whole: {cases}");
}

fn url(cluster: &Cluster, database: &str) -> DatabaseUrl {
    DatabaseUrl::parse(&cluster.url(database)).expect("a URL")
}
