//! Runs every command of the operator's guide, from its blocks and its text, against a gateway.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::support::{Done, commands, done, free_address, shell, start};

const GUIDE: &str = include_str!("../../../../docs/operate.md");
const TOKEN: &str = "an-admin-token-of-at-least-32-characters";
/// Not run here: the build of the program, which `documents.rs` checks, and the gateway, which is
/// running already.
const ELSEWHERE: [&str; 2] = ["cargo install", "driftlock serve"];
/// Refused here, because this gateway has no secret key of Stripe: the test checks the message.
const NEEDS_STRIPE: &str = "driftlock stripe reconcile";

/// Commands in blocks in their order, then commands between backticks, once each.
fn written() -> Vec<String> {
    let mut written = commands(GUIDE);
    let inline: BTreeSet<&str> =
        GUIDE.split('`').filter(|piece| piece.starts_with("driftlock ")).collect();
    written.extend(inline.into_iter().map(str::to_owned));
    // Last, because nothing else works with a revoked key.
    written.sort_by_key(|command| command.contains("key revoke"));
    written
}

#[test]
fn every_command_of_the_operators_guide_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("gateway.toml"), include_str!("../../../../gateway.toml"))
        .expect("a configuration");
    let (public, admin) = (free_address(), free_address());
    let environment = HashMap::from([
        ("ENV_GO_BACKEND_URL".to_owned(), format!("http://{}", free_address())),
        ("ENV_DATABASE_URL".to_owned(), "sqlite:driftlock.db".to_owned()),
        ("ENV_ADMIN_TOKEN".to_owned(), TOKEN.to_owned()),
    ]);
    let run = |line: &str| done(&mut shell(folder, &environment, line));
    let migrated = run("driftlock migrate");
    assert!(migrated.success, "{migrated:?}");
    // Before the gateway runs, as in the guide. A number that matches no loss changes nothing.
    for command in written().iter().filter(|command| command.contains("--accept-missing-commits")) {
        let accepted = run(command);
        assert!(accepted.success, "{command}: {accepted:?}");
    }
    let serve = format!("exec driftlock serve --listen {public} --admin-listen {admin}");
    let mut serve = shell(folder, &environment, &serve);
    let (_server, _) = start(&mut serve, &folder.join("serve.log"), "listens on");

    let remote = format!(" --url http://{public}");
    let id = |line: String| -> String {
        let Done { out, err, .. } = run(&(line + " --json" + &remote));
        let made: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}"));
        made["id"].as_str().expect("an id").to_owned()
    };
    let organization = id("driftlock org create Acme".into());
    let key = id(format!("driftlock key create {organization}"));

    for command in written() {
        if ELSEWHERE.iter().any(|other| command.starts_with(other))
            || command.starts_with("driftlock migrate")
        {
            continue;
        }
        let named = command.replace("ORG", &organization).replace(" KEY", &format!(" {key}"));
        let local = !command.starts_with("driftlock ") || command.starts_with("driftlock check");
        let outcome = run(&if local { named } else { named + &remote });
        if command.starts_with(NEEDS_STRIPE) {
            assert!(outcome.err.contains("ENV_STRIPE_SECRET_KEY"), "{command}: {outcome:?}");
        } else if command.ends_with(" USE") {
            assert!(outcome.err.contains("no receipt"), "{command}: {outcome:?}");
        } else {
            assert!(outcome.success, "{command}: {outcome:?}");
        }
    }
    assert!(folder.join("copy.db").is_file(), "the backup is there");
}
