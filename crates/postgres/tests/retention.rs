//! Usage is bounded: events live in partitions by month, which are made ahead and dropped whole, and
//! closed periods go with their sums.

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
fn what_is_too_old_goes_by_the_partition() {
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
    let in_the_rest = || cluster.sql(&database, "select count(*) from driftlock.usage_events_rest");

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
    assert_eq!((held().as_str(), in_the_rest().as_str()), ("2", "0"), "each has its partition");
    let receipt = block_on(store.receipt(usage(now(), 1))).expect("read");
    assert!(receipt.is_some());

    // Nobody made the partition in time: the row is in the rest, and nothing fails.
    let far = now().plus(3_000 * DAY);
    settle(3, far);
    assert_eq!(in_the_rest(), "1");

    // 400 days after the first month's end its partition goes whole.
    block_on(store.purge_kept(now().plus(435 * DAY))).expect("upkeep");
    assert_eq!(held(), "2");
    assert!(!partitions().contains(made.split(' ').next().expect("one")), "{}", partitions());
    let usage_of = |at| {
        block_on(store.usage(organization_id(1), at, Period::calendar_month(at), Grouping::Day))
            .expect("read")
    };
    assert!(usage_of(now()).is_none(), "closed periods go with their sums");
    block_on(store.purge_kept(far)).expect("upkeep, although the month's rows are in the rest");
    assert_eq!((held().as_str(), in_the_rest().as_str()), ("1", "1"));
    block_on(store.purge_kept(far.plus(401 * DAY))).expect("upkeep");
    assert_eq!(held(), "0", "what was in the rest, too");
    assert!(block_on(store.receipt(usage(now(), 1))).expect("read").is_none());
}
