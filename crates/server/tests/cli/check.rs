//! `driftlock check`.

use std::fs;
use std::path::Path;

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
