//! I5 across gateways: a key revoked on one is refused by the others within a second, by notice, and
//! by polling when the listening connection is lost.

use std::time::{Duration, Instant};

use driftlock_e2e::admin::{LIST, Organization};
use driftlock_e2e::poll::{DEADLINE, within};
use driftlock_e2e::target::Target;

use super::CONFIG;
use super::support::backend::Backend;
use super::support::fleet::Fleet;

const KEYS: usize = 200;
const BOUND: Duration = Duration::from_secs(1);

#[test]
fn a_revoked_key_is_refused_everywhere_within_a_second() {
    let backend = Backend::start();
    let fleet = Fleet::start_before(2, CONFIG, &backend.url);
    let (revoking, other) = (fleet.target(0), fleet.target(1));
    let organization = Organization::new(&revoking);
    let mut took: Vec<Duration> =
        (0..KEYS).map(|_| until_refused(&organization, &revoking, &other)).collect();
    took.sort();
    within("refused elsewhere after a revocation, median", took[KEYS / 2], BOUND);
    within(
        &format!("refused elsewhere after a revocation, worst of {KEYS}"),
        took[KEYS - 1],
        BOUND,
    );

    // With the listening connection lost, polling finds it.
    let listening = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                     where query = 'listen driftlock_changes'";
    assert_eq!(fleet.sql(listening), "2");
    let polled = until_refused(&organization, &revoking, &other);
    within("refused elsewhere after a revocation, without a notice", polled, BOUND);
}

/// From the answer to the revocation to the first refusal.
fn until_refused(organization: &Organization<'_>, revoking: &Target, other: &Target) -> Duration {
    let key = organization.key();
    let status = || other.keyed("GET", LIST, &key.secret).send().status;
    assert_eq!(status(), 200, "remembered");
    revoking.admin("POST", &format!("/keys/{}/revoke", key.id)).send().expect(200);
    let revoked = Instant::now();
    assert_eq!(revoking.keyed("GET", LIST, &key.secret).send().status, 401, "at once");
    while status() != 401 {
        assert!(revoked.elapsed() < DEADLINE, "never refused");
    }
    revoked.elapsed()
}
