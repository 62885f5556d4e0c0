//! Rare but legal bodies, heads and ends of connections: each passes completely, and the following
//! messages on the connections are read correctly.

#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
    pub(crate) mod script;
}
mod answers;
mod client;
mod large;
mod requests;
mod time;

use driftlock_e2e::admin::{Key, Organization};
use serde_json::json;
use support::gateway::Gateway;
use support::script::{End, Script, Scripted};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// A gateway in front of a scripted backend, and a key.
fn with(config: &str, act: impl FnOnce(&Gateway, &Scripted, &Key<'_>, &Organization<'_>)) {
    let backend = Scripted::start(Script::text(OK, End::Keep));
    let gateway = Gateway::start(config, &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 100_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 100_000}));
    act(&gateway, &backend, &key, &organization);
}
