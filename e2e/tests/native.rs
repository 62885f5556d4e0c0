//! The whole suite against the native server: `driftlock dev`, on free ports and in a directory of
//! its own.

mod support {
    pub(crate) mod process;
    #[expect(dead_code, reason = "this test neither kills nor restarts its server")]
    pub(crate) mod server;
}

use driftlock_e2e::cases::CASES;
use driftlock_e2e::runner::{Case, run, summary};
use support::server::Server;

#[test]
fn the_native_server_does_what_it_must() {
    let server = Server::start("");
    let cases: Vec<&Case> = CASES.iter().collect();
    let outcomes = run(&server.target(), &cases);
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some());
    let failures: Vec<String> = failed.map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}\n{}", summary(&outcomes), failures.join("\n"));
    eprintln!("{} on the native host", summary(&outcomes));
}
