//! Starts that the program refuses, and its errors, which contain no secret.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use super::support::{dev, done, free_address, program};

const BACKEND: (&str, &str) = ("ENV_GO_BACKEND_URL", "http://127.0.0.1:9");
const DATABASE: (&str, &str) = ("ENV_DATABASE_URL", "sqlite:a.db");

fn refused(command: &mut Command) -> String {
    let outcome = done(command);
    assert!(!outcome.success, "{outcome:?}");
    assert_eq!(outcome.out, "");
    outcome.err
}

#[test]
fn missing_variables_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = ("ENV_ADMIN_TOKEN", "hunter2");
    for (environment, name, remedy) in [
        (vec![], "ENV_GO_BACKEND_URL", "http://127.0.0.1:8081"),
        (vec![("ENV_GO_BACKEND_URL", "ftp://x")], "ENV_GO_BACKEND_URL", "http://127.0.0.1:8081"),
        (vec![BACKEND], "ENV_DATABASE_URL", "sqlite:driftlock.db"),
        (
            vec![BACKEND, ("ENV_DATABASE_URL", "mysql://a:hunter2@b/c")],
            "ENV_DATABASE_URL",
            "sqlite:",
        ),
        (vec![BACKEND, DATABASE, token], "ENV_ADMIN_TOKEN", "openssl rand -hex 32"),
        (vec![BACKEND, DATABASE, ("ENV_CONFIG", "no.toml")], "no.toml", "no configuration"),
    ] {
        let said = refused(program(folder.path(), &["serve"]).envs(environment));
        assert!(said.contains(name) && said.contains(remedy), "{name}: {said}");
        assert!(!said.contains("hunter2"), "a secret: {said}");
    }
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "no file was created");
}

#[test]
fn the_embedded_store_refuses_a_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "[metering]\non_outage = \"journal\"\n";
    fs::write(folder.path().join("gateway.toml"), config).expect("written");
    let said = refused(program(folder.path(), &["serve"]).envs([BACKEND, DATABASE]));
    assert!(said.contains("metering.on_outage") && said.contains("postgres://"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let free = free_address();
    let mut serve = program(folder.path(), &["serve", "--listen", &taken]);
    let said = refused(serve.args(["--admin-listen", &free]).envs([BACKEND, DATABASE]));
    assert!(said.contains(&taken) && said.contains("in use"), "{said}");
    let arguments = ["dev", "--listen", &taken, "--backend-listen", &free];
    let said = refused(&mut program(folder.path(), &arguments));
    assert!(said.contains(&taken) && said.contains("--listen"), "{said}");
    let arguments = ["dev", "--listen", &free, "--backend-listen", &taken];
    let said = refused(&mut program(folder.path(), &arguments));
    assert!(said.contains(&taken) && said.contains("--backend-listen"), "{said}");
}

#[test]
fn a_second_process_on_the_store_gets_the_owners_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, ..) = dev(folder.path());
    let store = format!("sqlite:{}", folder.path().join(".driftlock/gateway.db").display());
    let free = free_address();
    let mut serve = program(folder.path(), &["serve", "--listen", &free, "--admin-listen", &free]);
    let said = refused(serve.envs([BACKEND, ("ENV_DATABASE_URL", store.as_str())]));
    assert!(said.contains("is served by process"), "{said}");
}

#[test]
fn a_command_names_the_gateway_that_it_did_not_reach() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = refused(&mut program(folder.path(), &["org", "list"]));
    assert!(said.contains("ENV_ADMIN_TOKEN") && said.contains("--data"), "{said}");
    let address = format!("http://{}", free_address());
    let mut command = program(folder.path(), &["org", "list", "--url", &address]);
    let said = refused(command.env("ENV_ADMIN_TOKEN", "x".repeat(32)));
    assert!(said.contains(&address) && said.contains("driftlock dev"), "{said}");
}
