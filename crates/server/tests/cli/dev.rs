//! `driftlock dev`: the commands it prints work, and a second start reuses the first one's data.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::support::{Done, dev, done, free_address, program};

/// The word after `label` in the greeting.
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
fn a_second_start_reuses_the_first_ones_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, _, greeting) = dev(folder.path());
    let (organization, key) = (word(&greeting, "organization"), word(&greeting, "API key"));
    drop(first);
    let (_second, url, again) = dev(folder.path());
    assert_eq!(word(&again, "organization"), organization);
    assert!(!again.contains(key), "a key is shown only once");
    assert!(again.contains("key create"), "how to make another: {again}");
    let health = format!("curl -sS {url}/api/v1/health -H 'Authorization: Bearer {key}'");
    assert_eq!(json(&paste(folder.path(), &health).out)["status"], "ok");
    // The greeting's own command for another key.
    let another = again.lines().find(|line| line.contains("key create")).expect("the command");
    let made = paste(folder.path(), another);
    assert!(made.success && made.out.contains("dlk_"), "{made:?}");
}

#[test]
fn its_data_is_for_its_owner_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, ..) = dev(folder.path());
    let data = folder.path().join(".driftlock");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files = fs::read_dir(&data).expect("a folder");
    let files: Vec<_> = files.map(|file| file.expect("read").path()).collect();
    for name in ["admin-token", "webhook-secret", "gateway.db", "gateway.db-wal", "anomalies.db"] {
        assert!(files.contains(&data.join(name)), "{name}: {files:?}");
    }
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

/// Another user's token would let that user administer this gateway.
#[test]
fn a_planted_token_is_refused() {
    let token = "0123456789abcdef".repeat(4);
    let start = |plant: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join(".driftlock");
        fs::create_dir(&data).expect("made");
        fs::set_permissions(&data, Permissions::from_mode(0o700)).expect("set");
        plant(&data);
        let free = free_address();
        let listen = ["dev", "--listen", &free, "--backend-listen", &free, "--admin-listen", &free];
        let outcome = done(&mut program(folder.path(), &listen));
        assert!(!outcome.success, "{outcome:?}");
        outcome.err
    };
    let readable = start(&|data| {
        fs::write(data.join("admin-token"), &token).expect("written");
        fs::set_permissions(data.join("admin-token"), Permissions::from_mode(0o644)).expect("set");
    });
    assert!(readable.contains("admin-token") && readable.contains("mode 644"), "{readable}");
    let linked = start(&|data| {
        fs::write(data.join("elsewhere"), &token).expect("written");
        symlink("elsewhere", data.join("admin-token")).expect("linked");
    });
    assert!(linked.contains("admin-token is a link"), "{linked}");
    let open = start(&|data| {
        fs::set_permissions(data, Permissions::from_mode(0o777)).expect("set");
    });
    assert!(open.contains("others may write"), "{open}");
}
