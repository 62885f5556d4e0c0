//! Retention of usage: events are in monthly partitions, which are created ahead and dropped whole;
//! closed periods are deleted with their sums.

use driftlock_domain::config::Durability;
use driftlock_domain::period::Period;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement};
use driftlock_gateway::ports::{Ledger, UsageRecords};
use driftlock_postgres::{DatabaseUrl, Timing, migrate, open};
use driftlock_testkit::make::{ask, node, now, organization_id, settlement, usage};
use driftlock_testkit::postgres::Cluster;
use futures_executor::block_on;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn old_usage_is_dropped_by_partition() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    let url = DatabaseUrl::parse(&cluster.url(&database)).expect("a URL");
    migrate(&url).expect("migrated");
    let store = open(&url, Timing::Caller, Durability::Fsync).expect("opens");
    let partitions = || {
        let query = "select string_agg(relname, ' ' order by relname) from pg_class \
                     where relname ~ '^usage_events_[0-9]+$' and relkind = 'r'";
        cluster.sql(&database, query)
    };
    let held = || cluster.sql(&database, "select count(*) from driftlock.usage_events");
    let in_default = || cluster.sql(&database, "select count(*) from driftlock.usage_events_rest");

    block_on(store.purge_kept(now())).expect("upkeep");
    let made = partitions();
    assert!(made.split(' ').count() >= 3, "ahead: {made}");
    let settle = |number: u64, at: Timestamp| {
        block_on(store.lease(organization_id(1), node(1), &ask(None, 0, 1), now()))
            .expect("leased");
        let one = Settlement { usage: usage(at, number), ..settlement(1, number) };
        let outcome = block_on(store.settle(one, at)).expect("settled");
        assert!(matches!(outcome, Settled::Committed { .. }), "{outcome:?}");
    };
    settle(1, now());
    settle(2, now().plus(40 * DAY));
    assert_eq!((held().as_str(), in_default().as_str()), ("2", "0"), "each has its partition");
    let receipt = block_on(store.receipt(usage(now(), 1))).expect("read");
    assert!(receipt.is_some());

    // The partition does not exist: the row is in the default partition, and nothing fails.
    let far = now().plus(3_000 * DAY);
    settle(3, far);
    assert_eq!(in_default(), "1");

    // 400 days after the first month's end its partition is dropped.
    block_on(store.purge_kept(now().plus(435 * DAY))).expect("upkeep");
    assert_eq!(held(), "2");
    assert!(!partitions().contains(made.split(' ').next().expect("one")), "{}", partitions());
    let usage_of = |at| {
        block_on(store.usage(organization_id(1), at, Period::calendar_month(at), Grouping::Day))
            .expect("read")
    };
    assert!(usage_of(now()).is_none(), "closed periods are deleted with their sums");
    block_on(store.purge_kept(far))
        .expect("upkeep, although the month's rows are in the default partition");
    assert_eq!((held().as_str(), in_default().as_str()), ("1", "1"));
    block_on(store.purge_kept(far.plus(401 * DAY))).expect("upkeep");
    assert_eq!(held(), "0", "also in the default partition");
    assert!(block_on(store.receipt(usage(now(), 1))).expect("read").is_none());
}

/// More dormant organizations than a portion has periods: their last periods stay, and the periods
/// of other organizations are deleted all the same.
#[test]
fn dormant_organizations_do_not_block_retention() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    let url = DatabaseUrl::parse(&cluster.url(&database)).expect("a URL");
    migrate(&url).expect("migrated");
    let store = open(&url, Timing::Caller, Durability::Fsync).expect("opens");
    cluster.sql(
        &database,
        "insert into driftlock.billing_periods (organization_id, starts_at, ends_at)
            select md5('dormant' || n)::uuid, 0, 1 from generate_series(1, 150) n;
         insert into driftlock.usage_ledgers
            select organization_id, id, 0, 1, 0, null, 7, 0 from driftlock.billing_periods;
         insert into usage_counters (organization_id, tally_id, hour, units, requests)
            select organization_id, id, 0, 7, 7 from driftlock.billing_periods;
         insert into driftlock.billing_periods (organization_id, starts_at, ends_at)
            select md5('busy' || n)::uuid, 1, 2 from generate_series(1, 50) n",
    );
    block_on(store.purge_kept(now())).expect("upkeep");
    let kept = "select count(*), sum(ends_at) from driftlock.billing_periods";
    assert_eq!(cluster.sql(&database, kept), "150|150", "periods without a ledger are deleted");
    let sums = "select sum(units) from usage_counters";
    assert_eq!(cluster.sql(&database, sums), "1050", "current periods keep their sums");
}

/// Mirrored audit entries are deleted when the object reports that it removed them.
#[test]
fn mirrored_audit_entries_follow_the_objects_retention() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    migrate(&DatabaseUrl::parse(&cluster.url(&database)).expect("a URL")).expect("migrated");
    let id = "0a000000-0000-0000-0000-000000000000";
    let entry = |seq: u64, action: &str, details: &str| {
        format!(
            r#"{{"seq":{seq},"at":{seq},"actor":"system","action":"{action}","resource":"","outcome":"ok",
            "request_id":"","ip":"","details":"{details}","prev_hash":"00","hash":"00"}}"#
        )
    };
    let ship = |entries: &[String]| {
        let audit = entries.join(",");
        let args =
            format!(r#"{{"organization":"{id}","sums":[],"receipts":[],"audit":[{audit}]}}"#);
        cluster.sql(&database, &format!("select driftlock_ship('{args}')"));
    };
    cluster.sql(
        &database,
        &format!("insert into audit_logs (organization_id, seq) values ('{id}', 1)"),
    );
    ship(&[1, 2, 3].map(|seq| entry(seq, "key.create", "{}")));
    let held = "select string_agg(ledger || seq, ' ' order by ledger, seq) from audit_logs";
    assert_eq!(cluster.sql(&database, held), "leases1 objects1 objects2 objects3");
    let pruned = r#"{\"checkpoint\":\"2:00ff\",\"entries\":2}"#;
    ship(&[entry(4, "audit.prune", pruned)]);
    assert_eq!(cluster.sql(&database, held), "leases1 objects3 objects4");
}
