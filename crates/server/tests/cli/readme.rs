//! Runs every command of the README unchanged, in its order, with one environment.

use std::collections::HashMap;

use super::support::{commands, dev, done, free_address, shell, start};

/// Commands that take long, because they build this program or run this suite. `documents.rs`
/// checks that what they name exists.
const ELSEWHERE: [&str; 3] = [
    "cargo run --release -- dev",
    "cargo xtask test",
    "cargo install --path crates/server --locked",
];

#[test]
fn every_command_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("gateway.toml"), include_str!("../../../../gateway.toml"))
        .expect("a configuration");
    let (_dev, backend) = {
        let (server, url, _) = dev(folder);
        (server, url)
    };
    let (mut environment, mut server) = (HashMap::new(), None);
    let mut organization = String::new();
    let mut head = String::new();
    let (public, admin) = (free_address(), free_address());
    for written in commands(include_str!("../../../../README.md")) {
        if ELSEWHERE.contains(&written.as_str()) {
            continue;
        }
        if let Some((name, value)) = written.strip_prefix("export ").and_then(|e| e.split_once('='))
        {
            let value = done(&mut shell(folder, &environment, &format!("printf %s \"{value}\"")));
            environment.insert(name.to_owned(), value.out);
            continue;
        }
        let remote = format!(" --url http://{public}");
        let line = written.replace("ORG", &organization).replace("SEQ:HASH", &head);
        if written.starts_with("driftlock serve") {
            environment.insert("ENV_GO_BACKEND_URL".into(), backend.clone());
            let line = format!("exec {line} --listen {public} --admin-listen {admin}");
            let mut command = shell(folder, &environment, &line);
            server = Some(start(&mut command, &folder.join("serve.log"), "listens on"));
            continue;
        }
        let local = ["driftlock check", "driftlock migrate"].iter().any(|c| line.starts_with(c));
        let line = if local { line } else { line + &remote };
        let outcome = done(&mut shell(folder, &environment, &line));
        assert!(outcome.success, "{line}: {outcome:?}");
        if written.starts_with("driftlock org create") {
            let mut words = outcome.out.split_whitespace();
            let id = words.rfind(|word| word.starts_with("org_"));
            organization = id.expect("its id").to_owned();
        }
        if written.starts_with("driftlock audit export") {
            let outcome = done(&mut shell(
                folder,
                &environment,
                &format!("driftlock audit verify {organization} --json{remote}"),
            ));
            let report: serde_json::Value = serde_json::from_str(&outcome.out).expect("JSON");
            head = report["head"].as_str().expect("SEQ:HASH").to_owned();
        }
    }
    assert!(server.is_some() && !head.is_empty(), "the README shows them");
}
