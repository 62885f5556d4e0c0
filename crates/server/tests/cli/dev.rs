//! `driftlock dev`: the lines it prints work when pasted, and a second start finds the first's data.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::support::{Done, dev, done, program};

/// The word behind `label` in the greeting.
fn word<'a>(greeting: &'a str, label: &str) -> &'a str {
    let line = greeting.lines().find(|line| line.starts_with(label));
    let rest = line.and_then(|line| line.strip_prefix(label)).unwrap_or_default();
    rest.split_whitespace().next().unwrap_or_else(|| panic!("no {label} in {greeting}"))
}

fn paste(folder: &Path, line: &str) -> Done {
    done(Command::new("sh").args(["-c", line]).current_dir(folder))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_five_lines_work_when_pasted_and_cost_what_they_should() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, url, greeting) = dev(folder.path());
    let lines: Vec<&str> = greeting.lines().filter(|line| line.contains("curl -sS")).collect();
    assert_eq!(lines.len(), 5, "{greeting}");
    let answers: Vec<Value> = lines
        .iter()
        .map(|line| {
            let answer = paste(folder.path(), line);
            assert!(answer.success, "{line}: {}", answer.err);
            json(&answer.out)
        })
        .collect();
    assert_eq!(answers[0]["status"], "ok", "{}", answers[0]);
    let burst = answers[2]["anomalies"].as_array().expect("anomalies");
    assert!(!burst.is_empty(), "the injected lines are found: {}", answers[2]);
    assert_eq!(answers[4]["units"], 2, "two detections: {}", answers[4]);

    let organization = word(&greeting, "organization");
    let remote = ["--url", &url];
    let run = |arguments: &[&str]| {
        let outcome = done(program(folder.path(), arguments).args(remote));
        assert!(outcome.success, "{arguments:?}: {}", outcome.err);
        outcome.out
    };
    assert!(run(&["usage", organization]).contains("units"));
    assert_eq!(json(&run(&["usage", organization, "--json"]))["units"], 2);
    assert!(run(&["audit", "verify", organization]).contains("true"));
    assert!(run(&["key", "list", organization]).contains("demo"));
    let made = json(&run(&["key", "create", organization, "--json"]));
    assert!(made["key"].as_str().is_some_and(|key| key.starts_with("dlk_")), "{made}");
}

#[test]
fn a_second_start_finds_the_first_ones_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, _, greeting) = dev(folder.path());
    let (organization, key) = (word(&greeting, "organization"), word(&greeting, "API key"));
    drop(first);
    let (_second, url, again) = dev(folder.path());
    assert_eq!(word(&again, "organization"), organization);
    assert!(!again.contains(key), "a key is shown once");
    assert!(again.contains("key create"), "how to make another: {again}");
    let health = format!("curl -sS {url}/api/v1/health -H 'Authorization: Bearer {key}'");
    assert_eq!(json(&paste(folder.path(), &health).out)["status"], "ok");
    // The greeting's own command for another key.
    let another = again.lines().find(|line| line.contains("key create")).expect("the command");
    let made = paste(folder.path(), another);
    assert!(made.success && made.out.contains("dlk_"), "{made:?}");
}
