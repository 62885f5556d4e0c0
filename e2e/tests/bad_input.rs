//! Stores and backends that fail: what the client sees, and what is charged.

mod support {
    #[expect(dead_code, reason = "each test uses the manners that it is about")]
    pub(crate) mod backend;
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::io::{Read, Write};
use std::net::TcpStream;

use driftlock_e2e::admin::{DETECT, Key, LIST, Organization};
use driftlock_e2e::poll::eventually;
use driftlock_e2e::target::Target;
use serde_json::json;
use support::backend::{Backend, Manner};
use support::gateway::{Gateway, open_to_all, refused};

const QUICK: &str = "[timeouts]\nbackend_head_ms = 2000\n";

/// Sends a request as bytes; returns everything that arrives until the gateway closes.
fn exchange(gateway: &Gateway, key: &Key<'_>, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address()).expect("it listens");
    let body = if method == "POST" { r#"{"data":["a"]}"# } else { "" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        key.secret,
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    // A reset after the answer ends it as well.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn charged<'a>(target: &'a Target) -> (Organization<'a>, Key<'a>) {
    let organization = Organization::with(target, json!({"quota": {"included": 1_000}}));
    let key = organization.key();
    (organization, key)
}

#[test]
fn a_backend_that_gives_no_head_is_named_and_costs_nothing() {
    let backend = Backend::start();
    let gateway = Gateway::start(QUICK, &backend.url);
    let target = gateway.target();
    let (organization, key) = charged(&target);
    let cases = [
        (Manner::Resets, 502, "backend-unreachable"),
        (Manner::HalfHead, 502, "backend-unreachable"),
        (Manner::Nonsense, 502, "backend-broken"),
        (Manner::Stalls, 504, "backend-timeout"),
    ];
    for (manner, status, code) in cases {
        backend.set(manner);
        for (method, path) in [("POST", DETECT), ("GET", LIST)] {
            let answer = exchange(&gateway, &key, method, path);
            let first = answer.lines().next().unwrap_or_default().to_owned();
            assert!(first.starts_with(&format!("HTTP/1.1 {status} ")), "{manner:?}: {answer}");
            assert!(answer.contains("application/problem+json"), "{manner:?}: {answer}");
            assert!(answer.contains(&format!("/problems/{code}\"")), "{manner:?}: {answer}");
            assert!(!answer.to_lowercase().contains("x-usage-receipt"), "{manner:?}: {answer}");
        }
    }
    backend.set(Manner::Fails);
    let failed = exchange(&gateway, &key, "POST", DETECT);
    assert!(failed.starts_with("HTTP/1.1 500 "), "the backend's own error passes: {failed}");
    assert_eq!(organization.units(), 0);
    backend.set(Manner::Answers);
    key.detect().expect(200).receipt();
    assert_eq!(organization.units(), 1, "it goes on as if nothing had been");
}

#[test]
fn a_backend_that_is_away_is_502_and_costs_nothing() {
    let unused = support::process::free_address();
    let gateway = Gateway::start(QUICK, &format!("http://{unused}"));
    let target = gateway.target();
    let (organization, key) = charged(&target);
    key.detect().problem(502, "backend-unreachable");
    key.get(LIST).problem(502, "backend-unreachable");
    assert_eq!(organization.units(), 0);
}

#[test]
fn half_a_body_is_broken_off_charged_and_audited() {
    let backend = Backend::start();
    let gateway = Gateway::start(QUICK, &backend.url);
    let target = gateway.target();
    let (organization, key) = charged(&target);
    for (units, manner) in [(1, Manner::HalfBody), (2, Manner::HalfChunked)] {
        backend.set(manner);
        let answer = exchange(&gateway, &key, "POST", DETECT);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("{\"half\":"), "what came is passed on: {answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "it must not look complete: {answer}");
        assert_eq!(organization.units(), units, "{manner:?}: the head was a success");
        eventually("the truncation is in the audit log", || {
            let rows = organization.audit();
            let truncated = rows.iter().filter(|row| row["outcome"] == "truncated").count();
            (truncated as u64 == units).then_some(())
        });
    }
    let free = exchange(&gateway, &key, "GET", LIST);
    assert!(free.starts_with("HTTP/1.1 200 ") && !free.ends_with("0\r\n\r\n"), "{free}");
    assert_eq!(organization.units(), 2, "a free request stays free");
}

#[test]
fn a_full_disk_refuses_metered_requests_uncharged_and_lets_free_ones_pass() {
    let backend = Backend::start();
    let gateway = Gateway::start(QUICK, &backend.url);
    let target = gateway.target();
    let (organization, key) = charged(&target);
    key.detect().expect(200).receipt();
    key.get(LIST).expect(200);

    gateway.limit_files("1");
    for _ in 0..3 {
        key.detect().problem(503, "store-unavailable");
        key.get(LIST).expect(200);
    }
    assert_eq!(organization.units(), 1, "nothing was charged");
    eventually("the gateway says that it is not ready", || {
        target.request("GET", "/healthz").send().expect(200);
        let asked = target.request("GET", "/readyz").send();
        (asked.status == 503).then(|| asked.problem(503, "store-unavailable"))
    });

    gateway.limit_files("unlimited");
    key.detect().expect(200).receipt();
    assert_eq!(organization.units(), 2);
    eventually("it is ready again", || support::process::is_ready(gateway.address()).then_some(()));
    eventually("the free requests of the outage are in the audit log", || {
        let rows = organization.audit();
        let free = rows.iter().filter(|row| row["resource"] == format!("GET {LIST}"));
        (free.count() == 4).then_some(())
    });
    let verdict = organization.admin("GET", "/audit/verify").send().expect(200).json();
    assert_eq!(verdict["ok"], true, "{verdict}");
}

#[test]
fn a_corrupt_database_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("notes.db");
    std::fs::write(&database, "somebody's notes\n".repeat(500)).expect("written");
    let (status, said) = refused(&database, None);
    assert!(!status.success());
    assert!(said.contains("notes.db") && said.contains("no SQLite database"), "{said}");
}

#[test]
fn a_read_only_database_is_refused_by_name() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("shut.db");
    std::fs::write(&database, "").expect("written");
    std::fs::set_permissions(&database, PermissionsExt::from_mode(0o444)).expect("it is ours");
    open_to_all(folder.path());
    let root = std::fs::metadata("/proc/self").expect("a process").uid() == 0;
    // File permissions do not apply to root, so the gateway runs as the user `nobody`.
    let (status, said) = refused(&database, root.then_some("65534"));
    assert!(!status.success());
    assert!(said.contains("shut.db") && said.contains("read-only"), "{said}");
}

/// Two processes on one file once doubled the cap: 1,000 acknowledged of 500.
#[test]
fn a_second_process_by_another_name_of_the_file_is_refused_and_the_cap_is_exact() {
    const CAP: u64 = 40;
    let backend = Backend::start();
    let gateway = Gateway::start("", &backend.url);
    let target = gateway.target();
    let quota = json!({ "quota": { "included": CAP, "policy": "block" } });
    let organization = Organization::with(&target, quota);
    let key = organization.key();
    key.detect().expect(200);
    let names = tempfile::tempdir_in(gateway.folder()).expect("a folder");
    let link = names.path().join("link.db");
    std::fs::hard_link(gateway.folder().join("a.db"), &link).expect("linked");
    let _ = std::fs::remove_file(gateway.folder().join("a.db.lock"));
    for name in [link, gateway.folder().join("a.db")] {
        let (status, said) = refused(&name, None);
        assert!(!status.success(), "a second process serves {}", name.display());
        let owner = format!("process {}", gateway.process_id());
        assert!(said.contains(&owner) && said.contains("stop that process first"), "{said}");
    }
    let succeeded = (1..2 * CAP).filter(|_| key.detect().status == 200).count();
    assert_eq!(succeeded as u64 + 1, CAP, "successes");
    assert_eq!(organization.units(), CAP, "units");
}

#[test]
fn a_gateway_whose_database_is_moved_charges_nothing_and_is_not_ready() {
    let backend = Backend::start();
    let gateway = Gateway::start("", &backend.url);
    let target = gateway.target();
    let (_organization, key) = charged(&target);
    key.detect().expect(200);
    let database = gateway.folder().join("a.db");
    std::fs::rename(&database, gateway.folder().join("b.db")).expect("moved");
    let answer = exchange(&gateway, &key, "POST", DETECT);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    eventually("it is not ready", || {
        let status = target.request("GET", "/readyz").send().status;
        (status == 503).then_some(())
    });
    assert!(gateway.log().contains("lost the database file while serving it"), "{}", gateway.log());
}
