//! Configuration mistakes that `serve` reports before it listens.

use std::process::Command;

use driftlock_testkit::redis::Redis;

use super::support::process::build;

/// The message of `serve` when it exits at once.
fn refused(redis_url: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(build())
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env("ENV_DATABASE_URL", "sqlite:a.db")
        .env("ENV_GO_BACKEND_URL", "http://127.0.0.1:9")
        .env("ENV_REDIS_URL", redis_url)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    said
}

#[test]
fn a_malformed_url_and_wrong_credentials_end_the_start_in_one_line_without_the_password() {
    let redis = Redis::start_with(&["--requirepass", "correct-horse"]);
    let malformed = refused("http://u:hunter2@h");
    assert!(malformed.contains("ENV_REDIS_URL: not a Redis URL"), "{malformed}");
    let wrong = refused(&format!("redis://:hunter2@{}", redis.address()));
    let line = wrong.lines().find(|found| found.contains("ENV_REDIS_URL")).unwrap_or_default();
    assert!(line.contains(&redis.address()) && line.contains("credentials"), "{wrong}");
}
