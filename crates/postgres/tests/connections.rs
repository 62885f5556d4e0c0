//! Connections: TLS verification and timeouts.

use driftlock_domain::config::Durability;
use driftlock_domain::key::KeyHash;
use driftlock_gateway::ports::{Directory, Page};
use driftlock_postgres::{DatabaseUrl, OpenError, Timing, migrate, open};
use driftlock_testkit::postgres::Cluster;
use futures_executor::block_on;

fn url(cluster: &Cluster, database: &str, mode: &str) -> DatabaseUrl {
    let url = cluster.url(database).replace("sslmode=disable", mode);
    DatabaseUrl::parse(&url).expect("a URL")
}

#[test]
fn a_server_is_trusted_by_a_certificate_that_is_trusted() {
    let (cluster, certificate) = Cluster::start_secure();
    let database = cluster.database(None);
    let trusting = format!("sslmode=verify-full&sslrootcert={}", certificate.display());
    let trusting = url(&cluster, &database, &trusting);
    migrate(&trusting).expect("migrated");
    let store = open(&trusting, Timing::Caller, Durability::Fsync).expect("opens");
    let page = Page { after: None, limit: 1 };
    assert_eq!(block_on(store.organizations(page)), Ok(Vec::new()));
    let plain = "select count(*) filter (where ssl) > 0, count(*) filter (where not ssl) \
                 from pg_stat_ssl join pg_stat_activity using (pid) \
                 where application_name = 'driftlock'";
    assert_eq!(cluster.sql(&database, plain), "t|0", "every connection is encrypted");

    let (_other, others) = Cluster::start_secure();
    let wrong = format!("sslmode=verify-full&sslrootcert={}", others.display());
    for mode in ["sslmode=require", "sslmode=prefer", &wrong] {
        let refused =
            migrate(&url(&cluster, &database, mode)).expect_err("its certificate is not trusted");
        assert!(matches!(refused, OpenError::Tls(_)), "{mode}: {refused}");
        assert!(refused.to_string().contains("sslrootcert"), "{refused}");
    }
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_wanted() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    let refused = migrate(&url(&cluster, &database, "sslmode=require")).expect_err("it has none");
    assert!(matches!(refused, OpenError::Tls(_)), "{refused}");
}

/// The server ends a statement that waits too long, so that none keeps running there.
#[test]
fn a_statement_is_given_up_by_the_server_in_time() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    let at = url(&cluster, &database, "sslmode=disable");
    migrate(&at).expect("migrated");
    let store = open(&at, Timing::Caller, Durability::Fsync).expect("opens");
    std::thread::scope(|scope| {
        let hold = "begin; lock table api_keys in access exclusive mode; select pg_sleep(60)";
        let holding = scope.spawn(|| cluster.try_sql(&database, hold));
        let held = "select count(*) from pg_locks where relation = 'api_keys'::regclass \
                    and mode = 'AccessExclusiveLock' and granted";
        while cluster.sql(&database, held) == "0" {
            assert!(!holding.is_finished(), "the lock is held");
            std::thread::yield_now();
        }
        let hash = KeyHash::from_hex(&"ab".repeat(32)).expect("a hash");
        let fault = block_on(store.key_by_hash(&hash)).expect_err("it waits for the lock");
        assert!(fault.cause.contains("57014"), "{fault}");
        let page = Page { after: None, limit: 1 };
        assert_eq!(block_on(store.organizations(page)), Ok(Vec::new()), "others go on");
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(60)' \
                   and pid <> pg_backend_pid()";
        cluster.sql(&database, end);
        assert!(holding.join().expect("no panic").is_err());
    });
}
