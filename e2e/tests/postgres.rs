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

/// A schema of another version than the program's, as an upgrade leaves it for a while.
#[test]
fn check_compares_the_schema_with_the_program() {
    let fleet = Fleet::start(0, "");
    let (is_well, told) = fleet.checked();
    assert!(is_well && told.starts_with("ENV_DATABASE_URL: the schema is up to date"), "{told}");
    fleet.sql("insert into driftlock.migrations (version) values (99)");
    let (is_well, told) = fleet.checked();
    assert!(
        !is_well && told.contains("schema version 99") && told.contains("use a later"),
        "{told}"
    );
    fleet.sql("delete from driftlock.migrations where version > 2");
    let (is_well, told) = fleet.checked();
    assert!(
        !is_well && told.contains("version 2; ") && told.contains("`driftlock migrate`"),
        "{told}"
    );
    fleet.sql("drop schema driftlock cascade");
    let (is_well, told) = fleet.checked();
    assert!(
        !is_well && told.contains("version 0; ") && told.contains("`driftlock migrate`"),
        "{told}"
    );
}

#[test]
fn on_postgresql_the_gateway_does_what_it_must() {
    let fleet = Fleet::start(1, "");
    let passed = check(&fleet.target(0), CASES);
    eprintln!("{passed} over PostgreSQL");
}
