//! A key's rate limit holds for the fleet, at whichever gateway its requests arrive.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Stand, successes};

/// One request a minute: no token is refilled during the test.
const LIMIT: usize = 500;
const CLIENTS: usize = 8;

#[test]
fn two_gateways_admit_exactly_the_limit_between_them() {
    let stand = Stand::start(5_000);
    // Buckets of 500 refill one token each 120 ms: the elapsed time is taken into account.
    let key = stand.key(u32::try_from(LIMIT).expect("small"));
    let (passed, began) = (AtomicUsize::new(0), std::time::Instant::now());
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = stand.client(number % 2, &key);
            let passed = &passed;
            scope.spawn(move || passed.fetch_add(successes(&mut client, 100), Ordering::Relaxed));
        }
    });
    let passed = passed.into_inner();
    let refilled = began.elapsed().as_millis() / 120 + 1;
    let most = LIMIT + usize::try_from(refilled).expect("small");
    assert!((LIMIT..=most).contains(&passed), "{passed} of {LIMIT}, {refilled} came back");
    for node in 0..2 {
        assert_eq!(stand.metric(node, "driftlock_fleet_limits_up"), 1);
        assert_eq!(stand.metric(node, "driftlock_fleet_limits_fallbacks_total"), 0);
        assert!(stand.metric(node, "driftlock_fleet_limits_answers_total") > 0);
    }
    eprintln!("{passed} of 800 requests passed a limit of {LIMIT} (+{refilled})");
}
