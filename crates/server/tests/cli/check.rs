//! `driftlock check`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::{Done, done, free_address, program};

const BACKEND: (&str, &str) = ("ENV_GO_BACKEND_URL", "http://127.0.0.1:9");
const DATABASE: (&str, &str) = ("ENV_DATABASE_URL", "sqlite:a.db");

fn check(folder: &Path, text: &str, arguments: &[&str]) -> Done {
    fs::write(folder.join("gateway.toml"), text).expect("written");
    done(program(folder, &["check"]).args(arguments).envs([BACKEND, DATABASE]))
}

#[test]
fn a_mistake_is_named_with_its_file_line_and_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, line, key, remedy) in [
        ("[limits]\n\nbogus = 1\n", 3, "bogus", "expected one of"),
        ("[timeouts]\nclient_head_ms = 0\n", 2, "timeouts.client_head_ms", "1"),
        ("[metering]\ndurability = \"maybe\"\n", 2, "maybe", "`fsync`"),
        ("[backend]\nurl = \"localhost:8081\"\n", 2, "backend.url", "`http://127.0.0.1:8081`"),
        ("[limits]\naddresses_max = -1\n", 2, "-1", "integer"),
        (
            "[limits]\naddresses_max = 99999999999999999999\n",
            2,
            "99999999999999999999",
            "expected usize",
        ),
        ("routes = 1\n", 1, "1", "sequence"),
        ("[limits\n", 1, "", "]"),
    ] {
        let Done { success, err, .. } = check(folder.path(), text, &[]);
        assert!(!success, "{text}");
        assert!(err.starts_with(&format!("error: gateway.toml:{line}: ")), "{text}: {err}");
        assert!(err.contains(key) && err.contains(remedy), "{text}: {err}");
    }
}

#[test]
fn several_mistakes_are_reported_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[timeouts]\nclient_head_ms = 0\nrequest_ms = 0\n";
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    let mut command = program(folder.path(), &["check"]);
    let Done { err, .. } = done(command.envs([("ENV_DATABASE_URL", "mysql://h/d")]));
    for line in ["error: 3 mistakes", "ENV_DATABASE_URL: ", "gateway.toml:2: ", "gateway.toml:3: "]
    {
        assert!(err.lines().any(|found| found.starts_with(line)), "{line}: {err}");
    }
}

/// The result is in the last line.
#[test]
fn a_valid_file_is_summed_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let Done { success, out, .. } = check(folder.path(), "", &[]);
    assert!(success && out.contains("/api/v1/anomalies/detect"), "{out}");
    let last = out.lines().last().expect("a line");
    assert_eq!(last, "gateway.toml is valid: `driftlock serve` can start");
    let own = include_str!("../../../../gateway.toml");
    assert!(check(folder.path(), own, &[]).success, "the project's own");
}

#[test]
fn without_a_file_the_defaults_are_examined_as_serve_would_use_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program(folder.path(), &["check"]);
    let Done { success, out, err } = done(command.envs([BACKEND, DATABASE]));
    assert!(success && out.contains("there is no gateway.toml here"), "{out} {err}");
}

/// A gateway starts without its backend and its Redis.
#[test]
fn a_service_that_does_not_answer_is_a_warning_and_a_failure_only_with_strict() {
    let folder = tempfile::tempdir().expect("a folder");
    let (backend, redis) =
        (format!("http://{}", free_address()), format!("redis://{}", free_address()));
    let check = |arguments: &[&str]| {
        let mut command = program(folder.path(), &["check"]);
        command.args(arguments).envs([DATABASE]);
        done(command.envs([("ENV_GO_BACKEND_URL", &backend), ("ENV_REDIS_URL", &redis)]))
    };
    let Done { success, out, .. } = check(&[]);
    assert!(success, "{out}");
    let warnings: Vec<&str> = out.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 2, "{out}");
    assert!(warnings[0].starts_with("warning: ENV_REDIS_URL: ") && warnings[1].contains(&backend));
    let Done { success, err, .. } = check(&["--strict"]);
    assert!(!success && err.contains("2 warnings"), "{err}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let backend = format!("http://{}", listener.local_addr().expect("bound"));
    let mut command = program(folder.path(), &["check", "--strict"]);
    command.envs([DATABASE]).env("ENV_GO_BACKEND_URL", &backend);
    let Done { success, out, err } = done(&mut command);
    assert!(success && out.contains(&format!("backend: {backend} answers")), "{out} {err}");
}

#[test]
fn json_is_for_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let Done { out, .. } = check(folder.path(), "[limits]\nbogus = 1\n", &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&report["ok"], &report["mistakes"][0]["line"]), (&false.into(), &2.into()));
    let Done { out, .. } = check(folder.path(), "", &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["ok"], true);
    assert_eq!(report["config"]["plans"]["developer"]["included"], 10_000);
    assert_eq!(report["warnings"].as_array().map(Vec::len), Some(1), "the backend does not answer");
    let Done { success, out, .. } = check(folder.path(), "", &["--json", "--strict"]);
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(!success && report["ok"] == false);
}

/// `check` examines the store that the environment names, and does not change it.
#[test]
fn the_stores_schema_is_compared_with_the_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("gateway.toml"), "").expect("written");
    let at = |arguments: &[&str], url: &str| {
        let mut command = program(folder.path(), arguments);
        done(command.envs([BACKEND]).env("ENV_DATABASE_URL", url))
    };
    let check = || at(&["check"], "sqlite:a.db");
    let Done { success, out, .. } = check();
    assert!(success && out.contains("a.db is not there yet"), "{out}");
    assert!(!folder.path().join("a.db").exists(), "nothing was made");

    assert!(at(&["migrate"], "sqlite:a.db").success);
    let Done { success, out, .. } = check();
    assert!(success && out.contains("ENV_DATABASE_URL: the schema is up to date"), "{out}");

    let set = |version: u32| {
        let set = format!("PRAGMA user_version = {version}");
        let sqlite = Command::new("sqlite3").arg(folder.path().join("a.db")).arg(set).status();
        assert!(sqlite.expect("sqlite3 runs").success());
    };
    set(1);
    let Done { success, out, .. } = check();
    assert!(success && out.contains("version 1; ") && out.contains("`driftlock migrate`"), "{out}");
    set(99);
    let Done { success, err, .. } = check();
    assert!(!success && err.contains("schema version 99") && err.contains("use a later"), "{err}");
    let Done { success, err, .. } = at(&["migrate"], "sqlite:a.db");
    assert!(!success && err.contains("schema version 99"), "{err}");

    let Done { success, out, .. } = at(&["check", "--json"], "mysql://h/d");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(!success);
    assert_eq!(
        (&report["ok"], &report["mistakes"][0]["key"]),
        (&false.into(), &"ENV_DATABASE_URL".into())
    );
    let Done { success, err, .. } = at(&["check"], "postgres://u:hunter2@127.0.0.1:1/d");
    assert!(!success && err.contains("ENV_DATABASE_URL: the database cannot be reached"), "{err}");
    assert!(!err.contains("hunter2"), "{err}");
}
