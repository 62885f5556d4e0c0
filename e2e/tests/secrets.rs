//! I8: no log, error, metric, audit row or file contains a secret, at any log level.

mod support {
    #[expect(dead_code, reason = "this test's backend answers and fails")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "files without room are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod metrics;
    pub(crate) mod process;
}

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use driftlock_e2e::admin::{LIST, Organization};
use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use serde_json::json;
use support::backend::{Backend, Manner};
use support::gateway::{ADMIN_TOKEN, Gateway};

const WEBHOOK_SECRET: &str = "whsec_a0b1c2d3e4f5061728394a5b6c7d8e9f";
const STRIPE_KEY: &str = "sk_test_a0b1c2d3e4f5061728394a5b6c7d8e9f";
const PASSWORD: &str = "the-databases-own-password";

/// Failing and successful requests that carry a secret.
fn load(target: &Target, backend: &Backend, organization: &Organization<'_>) -> Vec<String> {
    let key = organization.key();
    for manner in [Manner::Answers, Manner::Resets, Manner::HalfBody, Manner::Answers] {
        backend.set(manner);
        let call = key.call("POST", "/api/v1/analyze").header("idempotency-key", "i");
        // The answer may be incomplete: only the request matters.
        drop(call.json(&json!({"data": ["a"]})).open());
        drop(key.call("GET", LIST).open());
    }
    let rotated = key.admin("POST", "/rotate").json(&json!({"grace_seconds": 60})).send();
    let rotated = rotated.expect(201).json()["key"].as_str().expect("a key").to_owned();
    key.admin("POST", "/revoke").send().expect(200);
    key.get(LIST).problem(401, "key-revoked");
    let wrong = format!("{}x", key.secret);
    target.keyed("GET", LIST, &wrong).send().problem(401, "unauthenticated");
    target.keyed("GET", &format!("{LIST}?api_key={rotated}"), &rotated).send().expect(200);
    let delivery = target.request("POST", "/webhooks/stripe");
    let refused = delivery.header("stripe-signature", "t=1,v1=00").json(&json!({"id": "evt_1"}));
    assert_eq!(refused.send().status, 400);
    organization.patch(&json!({"stripe_customer_id": "cus_1"}));
    drop(organization.admin("GET", "/invoices/upcoming").open());
    drop(target.admin("POST", "/stripe/reconcile").open());
    vec![key.secret, rotated, wrong]
}

#[test]
fn a_loaded_gateway_keeps_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:{}", folder.path().join("a.db").display());
    let backend = Backend::start();
    let unused = format!("http://{}", support::process::free_address());
    let environment = [
        ("RUST_LOG", "trace"),
        ("ENV_DATABASE_URL", database.as_str()),
        ("ENV_STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("ENV_STRIPE_SECRET_KEY", STRIPE_KEY),
        ("ENV_STRIPE_API_BASE", unused.as_str()),
    ];
    let gateway = Gateway::start_with("", &backend.url, &environment);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let mut secrets = load(&target, &backend, &organization);
    eventually("what was denied is in the audit log", || {
        let rows = organization.audit();
        rows.iter().any(|row| row["outcome"] == "key-revoked").then_some(())
    });
    secrets.extend([ADMIN_TOKEN, WEBHOOK_SECRET, STRIPE_KEY].map(str::to_owned));

    let admin = |path: &str| organization.admin("GET", path).send().expect(200).text();
    let shown = support::metrics::metrics(&gateway.log());
    assert!(shown.contains("driftlock_store_up 1"), "{shown}");
    let mut places = vec![("the log".to_owned(), gateway.log()), ("the metrics".to_owned(), shown)];
    places.extend(
        ["", "/keys", "/usage", "/audit", "/audit/export", "/alerts"]
            .map(|path| (format!("the answer to {path}"), admin(path))),
    );
    for file in std::fs::read_dir(folder.path()).expect("read") {
        let path = file.expect("read").path();
        let bytes = std::fs::read(&path).expect("read");
        places.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    let log = gateway.log();
    assert!(places.len() >= 10 && log.contains("request failed"), "nothing to search: {log}");
    for (place, text) in &places {
        for secret in &secrets {
            // Nothing may appear beyond the first characters, which are shown on purpose.
            let rest = &secret[secret.len() / 2..];
            assert!(!text.contains(rest), "{place} holds …{rest}");
        }
    }
}

#[test]
fn a_database_that_does_not_answer_is_named_without_its_password() {
    let address = support::process::free_address();
    let output = Command::new(support::process::build())
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .current_dir(tempfile::tempdir().expect("a folder").path())
        .env("RUST_LOG", "trace")
        .env("ENV_DATABASE_URL", format!("postgres://driftlock:{PASSWORD}@{address}/driftlock"))
        .env("ENV_GO_BACKEND_URL", "http://127.0.0.1:9")
        .env("ENV_ADMIN_TOKEN", ADMIN_TOKEN)
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("ENV_DATABASE_URL"), "it is named: {said}");
    assert!(!said.contains(PASSWORD), "{said}");
}

/// A double of Stripe's API that repeats each request in its answer.
#[test]
fn what_another_service_echoes_is_masked_in_the_log() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let echo = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 8_192];
            let length = stream.read(&mut head).unwrap_or(0);
            let sent = String::from_utf8_lossy(&head[..length]).replace(['\r', '\n', '"'], " ");
            let body = json!({ "error": { "message": format!("No such thing: {sent}") } });
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            // The gateway may stop before it reads the answer.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let backend = Backend::start();
    let environment = [("ENV_STRIPE_SECRET_KEY", STRIPE_KEY), ("ENV_STRIPE_API_BASE", &echo)];
    let gateway = Gateway::start_with("", &backend.url, &environment);
    let target = gateway.target();
    let log = eventually("the log says what the API said", || {
        drop(target.admin("POST", "/stripe/reconcile").open());
        Some(gateway.log()).filter(|log| log.contains("No such thing"))
    });
    let answer = target.admin("POST", "/stripe/reconcile").send().text();
    let rest = &STRIPE_KEY["sk_test_".len()..];
    assert!(!log.contains(rest) && !answer.contains(rest), "{answer}\n{log}");
}
