//! The whole suite against the native server: `driftlock dev`, on free ports and in a temporary
//! directory.

mod support {
    pub(crate) mod process;
    #[expect(dead_code, reason = "this test neither kills nor restarts its server")]
    pub(crate) mod server;
}

use driftlock_e2e::cases::CASES;
use driftlock_e2e::runner::check;
use support::server::Server;

#[test]
fn the_native_server_does_what_it_must() {
    let server = Server::start("");
    let passed = check(&server.target(), CASES);
    eprintln!("{passed} on the native host");
}
