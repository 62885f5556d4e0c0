//! The whole suite against a native gateway on PostgreSQL: `driftlock serve` on a database that
//! `driftlock migrate` made.

mod support {
    #[expect(dead_code, reason = "this test has one gateway, and kills none")]
    pub(crate) mod fleet;
    pub(crate) mod process;
}

use driftlock_e2e::cases::CASES;
use driftlock_e2e::runner::check;
use support::fleet::Fleet;

#[test]
fn on_postgresql_the_gateway_does_what_it_must() {
    let fleet = Fleet::start(1, "");
    let passed = check(&fleet.target(0), CASES);
    eprintln!("{passed} over PostgreSQL");
}
