//! A PostgreSQL database from an operator's view: migration, and the errors if it cannot be used.
//! No error contains a password.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use driftlock_testkit::postgres::{Cluster, LOCKED};
use serde_json::Value;

use super::support::{Done, done, free_address, program, start};

const BACKEND: (&str, &str) = ("ENV_GO_BACKEND_URL", "http://127.0.0.1:9");

fn run(arguments: &[&str], url: &str) -> Done {
    let folder = tempfile::tempdir().expect("a folder");
    let said = done(serve_or(&mut program(folder.path(), arguments), url));
    assert!(!said.err.contains("hunter2"), "a secret: {}", said.err);
    said
}

fn serve_or<'a>(command: &'a mut Command, url: &str) -> &'a mut Command {
    command.env("ENV_DATABASE_URL", url).envs([BACKEND])
}

/// The error of a `serve` that does not start.
fn refused(url: &str) -> String {
    let free = free_address();
    let said = run(&["serve", "--listen", &free, "--admin-listen", &free], url);
    assert!(!said.success, "{said:?}");
    assert!(said.err.contains("ENV_DATABASE_URL"), "{}", said.err);
    said.err
}

#[test]
fn migrate_prints_what_it_applied_and_a_second_run_applies_nothing() {
    let cluster = Cluster::start();
    let url = cluster.url(&cluster.database(None));
    let said = refused(&url);
    assert!(said.contains("schema version 0") && said.contains("driftlock migrate"), "{said}");

    let first = run(&["migrate", "--json"], &url);
    assert!(first.success, "{}", first.err);
    let first: Value = serde_json::from_str(&first.out).expect("JSON");
    assert_eq!(first["from"], 0);
    let applied = first["applied"].as_array().expect("a list");
    assert_eq!(first["to"], applied.len());
    assert_eq!(applied[0], "0001_tables");
    let second = run(&["migrate"], &url);
    assert!(second.success && second.out.starts_with("the schema is up to date"), "{second:?}");
    let again: Value = serde_json::from_str(&run(&["migrate", "--json"], &url).out).expect("JSON");
    assert_eq!((&again["from"], &again["applied"]), (&first["to"], &Value::Array(Vec::new())));
    serves(&url);
}

#[test]
fn a_later_schema_is_not_touched() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    assert!(run(&["migrate"], &cluster.url(&database)).success);
    cluster.sql(&database, "insert into driftlock.migrations (version) values (99)");
    let said = refused(&cluster.url(&database));
    assert!(said.contains("schema version 99"), "{said}");
    let migrate = run(&["migrate"], &cluster.url(&database));
    assert!(!migrate.success && migrate.err.contains("99"), "{migrate:?}");
}

#[test]
fn errors_of_the_connection_are_named() {
    let cluster = Cluster::start();
    let database = cluster.database(None);
    cluster.sql(&database, &format!("create role {LOCKED} login password 'right'"));
    let url = cluster.url(&database);
    let locked = url.replace("postgres@", &format!("{LOCKED}:hunter2@"));
    let said = refused(&locked);
    assert!(said.contains("password authentication failed"), "{said}");
    let said = refused(&url.replace(&database, "nowhere"));
    assert!(said.contains("\"nowhere\" does not exist"), "{said}");
    let said = refused(&url.replace("sslmode=disable", "sslmode=verify-full"));
    assert!(said.contains("TLS") && said.contains("sslmode=disable"), "{said}");
    let said = refused(&format!("postgres://u:hunter2@{}/d?sslmode=disable", free_address()));
    assert!(said.contains("cannot be reached") && said.contains("refused"), "{said}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let said = refused(&format!("postgres://u:hunter2@{address}/d?sslmode=disable"));
    assert!(said.contains("did not answer within"), "{said}");
    let said = refused(&url.replace("127.0.0.1", "no-such-host.invalid"));
    assert!(said.contains("cannot be reached"), "{said}");
}

/// `serve` starts.
fn serves(url: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let free = [free_address(), free_address()];
    let arguments = ["serve", "--listen", &free[0], "--admin-listen", &free[1]];
    let log: &Path = &folder.path().join("log");
    let mut command = program(folder.path(), &arguments);
    start(serve_or(&mut command, url), log, "gateway listens on");
}
