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

#[test]
fn on_a_supabase_project_the_gateway_does_what_it_must() {
    let mut fleet = Fleet::start(0, "").by_rest();
    fleet.add();
    let passed = check(&fleet.target(0), CASES);
    eprintln!("{passed} over Supabase's REST API");
}
