//! A gateway's database login needs only membership of `service_role`: it owns no object and can do
//! everything that the gateway needs.

use std::time::{Duration, Instant};

use driftlock_e2e::admin::{LIST, Organization};
use driftlock_e2e::poll::{eventually, within};

use super::CONFIG;
use super::support::backend::Backend;
use super::support::fleet::Fleet;
use super::support::metered::{Client, Outcome};

const ROLE: &str = "gateway";

#[test]
fn a_login_that_owns_nothing_is_enough() {
    let backend = Backend::start();
    let mut fleet = Fleet::start_before(0, CONFIG, &backend.url).with_login(ROLE);
    fleet.sql(&format!("create role {ROLE} login in role service_role"));
    fleet.add();
    fleet.add();
    let (one, other) = (fleet.target(0), fleet.target(1));
    let organization = Organization::new(&one);
    let key = organization.key();
    let sent = Client::new(fleet.listen(0), &key.secret).send();
    assert!(matches!(sent, Outcome::Success(_)), "{sent:?}");
    assert_eq!(organization.units(), 1);
    assert_eq!(other.keyed("GET", LIST, &key.secret).send().status, 200);
    one.admin("POST", &format!("/keys/{}/revoke", key.id)).send().expect(200);
    let revoked = Instant::now();
    eventually("the other gateway refuses the key", || {
        (other.keyed("GET", LIST, &key.secret).send().status == 401).then_some(())
    });
    let bound = Duration::from_secs(2);
    within("refused elsewhere, with a login that owns nothing", revoked.elapsed(), bound);
    let owned = format!("select count(*) from pg_class where relowner = '{ROLE}'::regrole");
    assert_eq!(fleet.sql(&owned), "0");
    for node in 0..2 {
        let log = fleet.log(node);
        assert!(!log.contains("permission denied"), "{log}");
    }
}
