//! `driftlock check` fails for a configuration exactly when `driftlock serve` does, with the same
//! message.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::support::{Done, done, free_address, program, start};

const BACKEND: (&str, &str) = ("ENV_GO_BACKEND_URL", "http://127.0.0.1:9");
const DATABASE: (&str, &str) = ("ENV_DATABASE_URL", "sqlite:a.db");
const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";

/// A configuration: its text if there is a file, its environment, and a part of the expected
/// message.
struct Case {
    text: Option<&'static str>,
    environment: Vec<(&'static str, &'static str)>,
    said: &'static str,
}

fn broken(
    text: &'static str,
    environment: &[(&'static str, &'static str)],
    said: &'static str,
) -> Case {
    Case { text: Some(text), environment: environment.to_vec(), said }
}

/// A backend, a store and one more variable.
fn with(name: &'static str, value: &'static str, said: &'static str) -> Case {
    broken("", &[BACKEND, DATABASE, (name, value)], said)
}

/// A backend, a store and the text of a configuration.
fn text(text: &'static str, said: &'static str) -> Case {
    broken(text, &[BACKEND, DATABASE], said)
}

fn environments() -> Vec<Case> {
    vec![
        broken("", &[DATABASE], "ENV_GO_BACKEND_URL"),
        broken("", &[BACKEND], "ENV_DATABASE_URL"),
        broken("", &[], "2 mistakes"),
        Case { text: None, environment: vec![DATABASE], said: "backend.url" },
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "sqlite:nowhere/a.db")], "nowhere"),
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "sqlite:folder")], "folder"),
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "sqlite:noise")], "no SQLite database"),
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "sqlite:noise/a.db")], "noise/a.db"),
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "sqlite:later.db")], "schema version 99"),
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "sqlite:")], "the path is missing"),
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "mysql://h/d")], "no store URL"),
        broken(
            "",
            &[BACKEND, ("ENV_DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/d")],
            "reached",
        ),
        broken("", &[("ENV_GO_BACKEND_URL", "ftp://h"), DATABASE], "ENV_GO_BACKEND_URL"),
        broken("", &[("ENV_GO_BACKEND_URL", "http://u:hunter2@h"), DATABASE], "user name"),
        broken("", &[("ENV_GO_BACKEND_URL", "http://h?x"), DATABASE], "`?`"),
        with("ENV_ADMIN_TOKEN", "hunter2", "fewer than 32 characters"),
        with("ENV_STRIPE_WEBHOOK_SECRET", "a", "whsec_"),
        with("ENV_STRIPE_WEBHOOK_SECRET", "whsec_short", "at least 16 characters"),
        with("ENV_STRIPE_WEBHOOK_SECRET", "sk_test_hunter2", "API key"),
        with("ENV_STRIPE_SECRET_KEY", "hunter2", "ENV_STRIPE_SECRET_KEY"),
        with("ENV_STRIPE_API_BASE", "api.stripe.com", "ENV_STRIPE_API_BASE"),
        with("ENV_REDIS_URL", "http://u:hunter2@h", "ENV_REDIS_URL"),
        with("ENV_SUPABASE_URL", "https://x.supabase.co", "ENV_SUPABASE_SERVICE_ROLE_KEY"),
        with("ENV_CONFIG", "nowhere.toml", "nowhere.toml"),
        with("ENV_CONFIG", "folder", "folder"),
        with("ENV_CONFIG", "noise", "cannot read the configuration noise"),
    ]
}

fn texts() -> Vec<Case> {
    vec![
        text("[backend]\nheaders = { x-api-key = \"env:NOT_SET\" }\n", "NOT_SET"),
        text("[backend]\nheaders = { \"x y\" = \"a\" }\n", "header"),
        broken(
            "[backend]\nca_file = \"nowhere.pem\"\n",
            &[("ENV_GO_BACKEND_URL", "https://h"), DATABASE],
            "nowhere.pem",
        ),
        broken(
            "[backend]\nca_file = \"noise\"\n",
            &[("ENV_GO_BACKEND_URL", "https://h"), DATABASE],
            "noise",
        ),
        text("[metering]\non_outage = \"journal\"\n", "metering.on_outage"),
        text("[metering]\ndefault_plan = \"none\"\n", "gateway.toml:2: metering.default_plan"),
        text("[limits\n", "gateway.toml:1: "),
        text("[limits]\nbogus = 1\n", "gateway.toml:2: "),
        text("[timeouts]\ndrain_ms = 0\n", "gateway.toml:2: timeouts.drain_ms"),
        text("[backend]\nurl = \"localhost:8081\"\n", "gateway.toml:2: backend.url"),
        text("[filter]\ntrusted_proxies = [\"a\"]\n", "gateway.toml:2: "),
        text(
            "[metering]\ndefault_plan = \"a\"\n[plans.a]\nbase_micros = 0\nincluded = 1\n\
             policy = \"block\"\nrequests_per_minute = 0\nneeds_subscription = false\n",
            "plans.a.requests_per_minute",
        ),
        text(
            "[[routes]]\nmethod = \"GET\"\npath = \"/api/{a}\"\n\
             [[routes]]\nmethod = \"GET\"\npath = \"/api/{b}\"\n",
            "/api/{b}",
        ),
        text("[[routes]]\nmethod = \"GTE\"\npath = \"/api/a\"\n", "GTE"),
        text("[[routes]]\nmethod = \"GET\"\npath = \"/admin/a\"\n", "does not start with /api/"),
    ]
}

/// Configurations with which a gateway starts, so that `check` must not fail.
fn sound() -> Vec<Case> {
    vec![
        text("", ""),
        Case { text: None, environment: vec![BACKEND, DATABASE], said: "" },
        Case {
            text: Some("[backend]\nurl = \"http://127.0.0.1:9\"\n"),
            environment: vec![DATABASE],
            said: "",
        },
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "sqlite:made/a.db")], ""),
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "sqlite:link.db")], ""),
        broken("", &[BACKEND, ("ENV_DATABASE_URL", "sqlite:empty.db")], ""),
        with("ENV_ADMIN_TOKEN", "an-admin-token-of-at-least-32-characters", ""),
        with("ENV_ADMIN_TOKEN", "", ""),
        with("ENV_STRIPE_WEBHOOK_SECRET", SECRET, ""),
        with("ENV_REDIS_URL", "redis://127.0.0.1:1", ""),
        with("SET", "x", ""),
        broken(
            "[backend]\nheaders = { x-api-key = \"env:SET\" }\n",
            &[BACKEND, DATABASE, ("SET", "x")],
            "",
        ),
    ]
}

/// A folder with the files that the cases name.
fn folder(case: &Case) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for made in ["folder", "made"] {
        fs::create_dir(at(made)).expect("made");
    }
    fs::write(at("noise"), [0xff, 0xfe, 0, 1].repeat(1_000)).expect("written");
    fs::write(at("empty.db"), "").expect("written");
    symlink(at("empty.db"), at("link.db")).expect("linked");
    if case.environment.iter().any(|(_, value)| value.ends_with("later.db")) {
        let mut sqlite = Command::new("sqlite3");
        sqlite.arg(at("later.db")).arg("PRAGMA user_version = 99");
        assert!(sqlite.status().expect("sqlite3 runs").success());
    }
    if let Some(text) = case.text {
        fs::write(at("gateway.toml"), text).expect("written");
    }
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().display().to_string()).collect();
    names.sort();
    names
}

fn check(folder: &Path, case: &Case) -> Done {
    done(program(folder, &["check"]).envs(case.environment.iter().copied()))
}

#[test]
fn check_refuses_what_serve_refuses_with_the_same_message() {
    let free = free_address();
    for case in environments().into_iter().chain(texts()) {
        let (folder, shown) = (folder(&case), format!("{:?} {:?}", case.text, case.environment));
        let before = names(folder.path());
        let checked = check(folder.path(), &case);
        assert!(!checked.success, "check takes {shown}");
        assert_eq!(checked.out, "", "only the mistake is printed: {shown}");
        assert_eq!(names(folder.path()), before, "check changes nothing: {shown}");
        let arguments = ["serve", "--listen", &free, "--admin-listen", &free];
        let mut serve = program(folder.path(), &arguments);
        let served = done(serve.envs(case.environment.iter().copied()));
        assert!(!served.success, "serve takes {shown}");
        assert_eq!(checked.err, served.err, "{shown}");
        assert_eq!(names(folder.path()), before, "serve creates nothing: {shown}");
        assert!(checked.err.starts_with("error: "), "{shown}: {}", checked.err);
        assert!(checked.err.contains(case.said), "{shown}: {}", checked.err);
        assert!(!checked.err.contains("hunter2"), "a secret: {}", checked.err);
    }
}

#[test]
fn check_accepts_what_serve_starts_with() {
    for case in sound() {
        let (folder, shown) = (folder(&case), format!("{:?} {:?}", case.text, case.environment));
        let checked = check(folder.path(), &case);
        assert!(checked.success, "check refuses {shown}: {}", checked.err);
        let free = [free_address(), free_address()];
        let arguments = ["serve", "--listen", &free[0], "--admin-listen", &free[1]];
        let mut serve = program(folder.path(), &arguments);
        serve.envs(case.environment.iter().copied());
        // If the gateway does not start, this fails and shows the log.
        let _server = start(&mut serve, &folder.path().join("log"), "listens on");
    }
}
