//! Redis stops or does not answer: each node applies its own limits, with a metric and one log
//! line, until Redis is back.

use std::time::{Duration, Instant};

use driftlock_e2e::poll::{eventually, within};

use super::{Stand, successes};

/// One token in 20 s: none is refilled during the test.
const LIMIT: u32 = 3;
const AWAY: &str = "Redis unavailable";
const BACK: &str = "Redis available";

#[test]
fn without_redis_each_node_limits_by_itself_until_it_is_back() {
    let mut stand = Stand::start(5_000);
    let shared = stand.key(LIMIT);
    assert_eq!(successes(&mut stand.client(0, &shared), 5), 3);
    assert_eq!(successes(&mut stand.client(1, &shared), 5), 0, "the fleet's limit");

    stand.redis.kill();
    let local = stand.key(LIMIT);
    for node in 0..2 {
        assert_eq!(successes(&mut stand.client(node, &local), 50), 3, "the node's own limit");
        assert_eq!(stand.metric(node, "driftlock_fleet_limits_up"), 0);
        assert_eq!(stand.metric(node, "driftlock_fleet_limits_fallbacks_total"), 3);
        assert_eq!(stand.logged(node, AWAY), 1, "{}", stand.fleet.log(node));
        assert_eq!(stand.logged(node, BACK), 0);
    }
    assert_eq!(successes(&mut stand.client(0, &shared), 5), 0, "it goes on from the fleet's");

    stand.redis.boot();
    for node in 0..2 {
        let name = "driftlock_fleet_limits_up";
        eventually("Redis is found again", || (stand.metric(node, name) == 1).then_some(()));
        assert_eq!((stand.logged(node, AWAY), stand.logged(node, BACK)), (1, 1));
    }
    let again = stand.key(LIMIT);
    assert_eq!(successes(&mut stand.client(1, &again), 5), 3);
    assert_eq!(successes(&mut stand.client(0, &again), 5), 0, "the fleet's limit again");
}

#[test]
fn a_redis_that_stands_still_costs_a_bounded_wait_once() {
    let stand = Stand::start(300);
    let key = stand.key(1_000_000);
    let mut client = stand.client(0, &key);
    assert_eq!(successes(&mut client, 20), 20);
    stand.redis.freeze();
    let began = Instant::now();
    assert_eq!(successes(&mut client, 1), 1);
    let first = began.elapsed();
    let bound = Duration::from_millis(300);
    assert!(first >= bound, "{first:?}");
    within("the first request without Redis", first, bound * 5);
    // Of hundreds of requests, over other connections too, at most one for each core waits.
    let began = Instant::now();
    assert_eq!(successes(&mut client, 200), 200);
    assert_eq!(successes(&mut stand.client(0, &key), 200), 200);
    let rest = began.elapsed();
    within("400 more requests without Redis", rest, bound * 20);
    assert_eq!(stand.logged(0, AWAY), 1);
    stand.redis.thaw();
    let up = "driftlock_fleet_limits_up";
    eventually("Redis is found again", || (stand.metric(0, up) == 1).then_some(()));
    assert_eq!(successes(&mut client, 20), 20);
    assert_eq!((stand.logged(0, AWAY), stand.logged(0, BACK)), (1, 1));
}
