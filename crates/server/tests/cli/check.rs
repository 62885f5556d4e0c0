//! `driftlock check`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::{Done, done, program};

fn check(folder: &Path, text: &str, arguments: &[&str]) -> Done {
    fs::write(folder.join("gateway.toml"), text).expect("written");
    done(program(folder, &["check"]).args(arguments))
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
        let Done { success, out, .. } = check(folder.path(), text, &[]);
        assert!(!success, "{text}");
        assert!(out.starts_with(&format!("gateway.toml:{line}: ")), "{text}: {out}");
        assert!(out.contains(key) && out.contains(remedy), "{text}: {out}");
    }
}

#[test]
fn a_valid_file_is_summed_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let Done { success, out, .. } = check(folder.path(), "", &[]);
    assert!(success);
    assert!(out.contains("/api/v1/anomalies/detect") && out.contains("gateway.toml is valid"));
    let own = include_str!("../../../../gateway.toml");
    assert!(check(folder.path(), own, &[]).success, "the project's own");
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
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let Done { success, err, .. } = done(&mut program(folder.path(), &["check", "--config", "x"]));
    assert!(!success && err.contains("cannot read the configuration x"), "{err}");
}

/// What the environment names is looked at, and nothing of it changed.
#[test]
fn the_stores_schema_is_compared_with_the_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("gateway.toml"), "").expect("written");
    let at = |arguments: &[&str], url: &str| {
        let mut command = program(folder.path(), arguments);
        done(command.env("ENV_DATABASE_URL", url))
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
    let Done { success, out, .. } = check();
    assert!(!success && out.contains("schema version 99") && out.contains("use a later"), "{out}");
    let Done { success, err, .. } = at(&["migrate"], "sqlite:a.db");
    assert!(!success && err.contains("schema version 99"), "{err}");

    let Done { success, out, .. } = at(&["check", "--json"], "mysql://h/d");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(!success);
    assert_eq!(
        (&report["ok"], &report["mistakes"][0]["key"]),
        (&false.into(), &"ENV_DATABASE_URL".into())
    );
    let Done { success, out, .. } = at(&["check"], "postgres://u:hunter2@127.0.0.1:1/d");
    assert!(!success && out.contains("ENV_DATABASE_URL: the database cannot be reached"), "{out}");
    assert!(!out.contains("hunter2"), "{out}");
}
