//! The whole suite against a native gateway on a Supabase project: `driftlock serve` with
//! `ENV_SUPABASE_URL`, over a real PostgREST.

mod support {
    #[expect(dead_code, reason = "this test has one gateway, and kills none")]
    pub(crate) mod fleet;
    pub(crate) mod process;
}

use driftlock_e2e::cases::CASES;
use driftlock_e2e::runner::check;
use support::fleet::Fleet;

/// `driftlock check` names a schema of another version, as during an upgrade.
#[test]
fn check_compares_the_schema_with_the_program() {
    let fleet = Fleet::start(0, "").by_rest();
    let (is_well, printed) = fleet.checked();
    assert!(
        is_well && printed.starts_with("ENV_SUPABASE_URL: the schema is up to date"),
        "{printed}"
    );
    fleet.sql("insert into driftlock.migrations (version) values (99)");
    let (is_well, printed) = fleet.checked();
    assert!(
        !is_well && printed.contains("version 99; ") && printed.contains("use a later"),
        "{printed}"
    );
    fleet.sql("delete from driftlock.migrations where version > 2");
    let (is_well, printed) = fleet.checked();
    assert!(
        !is_well && printed.contains("version 2; ") && printed.contains("`driftlock migrate`"),
        "{printed}"
    );
}

#[test]
fn on_a_supabase_project_the_gateway_does_what_it_must() {
    let mut fleet = Fleet::start(0, "").by_rest();
    fleet.add();
    let passed = check(&fleet.target(0), CASES);
    eprintln!("{passed} over Supabase's REST API");
}
