//! The whole suite against a native gateway on a Supabase project: `driftlock serve` with
//! `ENV_SUPABASE_URL`, over a real PostgREST.

mod support {
    #[expect(dead_code, reason = "this test has one gateway, and kills none")]
    pub(crate) mod fleet;
    pub(crate) mod process;
}

use driftlock_e2e::cases::CASES;
use driftlock_e2e::runner::{Case, run, summary};
use support::fleet::Fleet;

#[test]
fn on_a_supabase_project_the_gateway_does_what_it_must() {
    let mut fleet = Fleet::start(0, "").by_rest();
    fleet.add();
    let cases: Vec<&Case> = CASES.iter().collect();
    let outcomes = run(&fleet.target(0), &cases);
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some());
    let failures: Vec<String> = failed.map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}\n{}", summary(&outcomes), failures.join("\n"));
    eprintln!("{} over Supabase's REST API", summary(&outcomes));
}
