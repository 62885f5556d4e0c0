//! I5 across gateways: a key revoked on one is refused by the others within a second, by notice and
//! by polling when nobody listens.

use std::time::{Duration, Instant};

use driftlock_e2e::admin::{LIST, Organization};
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
    let worst = took[KEYS - 1];
    eprintln!("refused elsewhere after {:?} (median), {worst:?} (worst of {KEYS})", took[KEYS / 2]);
    assert!(worst <= BOUND, "{worst:?}");

    // Without anybody who listens it is found by polling.
    let listening = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                     where query = 'listen driftlock_changes'";
    assert_eq!(fleet.sql(listening), "2");
    let polled = until_refused(&organization, &revoking, &other);
    eprintln!("without a notice after {polled:?}");
    assert!(polled <= BOUND, "{polled:?}");
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
        assert!(revoked.elapsed() < 10 * BOUND, "never refused");
    }
    revoked.elapsed()
}
