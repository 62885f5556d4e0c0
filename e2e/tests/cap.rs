//! I4 at the size of a busy day: 64 clients send 20,000 metered requests against a hard cap of
//! 10,000, and exactly 10,000 succeed, are counted and have a receipt.

mod support {
    pub(crate) mod process;
    #[expect(dead_code, reason = "this test neither kills nor restarts its server")]
    pub(crate) mod server;
}

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use driftlock_e2e::admin::Organization;
use serde_json::json;
use support::server::Server;

const CLIENTS: usize = 64;
const REQUESTS: usize = 20_000;
const CAP: usize = 10_000;

#[test]
fn exactly_the_cap_succeeds() {
    let server = Server::start("");
    let target = server.target();
    let quota = json!({ "quota": { "included": CAP, "policy": "block" } });
    let organization = Organization::with(&target, quota);
    let key = organization.key_with(json!({ "requests_per_minute": 100_000_000 }));
    let next = AtomicUsize::new(0);
    let receipts: Vec<String> = thread::scope(|scope| {
        let client = || scope.spawn(|| client(&server.listen, &key.secret, &next));
        let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
        clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect()
    });
    assert_eq!(receipts.len(), CAP, "successes");
    assert_eq!(organization.units(), CAP as u64, "units");
    let distinct: HashSet<&String> = receipts.iter().collect();
    assert_eq!(distinct.len(), CAP, "distinct receipts");
    thread::scope(|scope| {
        for share in receipts.chunks(CAP.div_ceil(CLIENTS)) {
            let target = &target;
            scope.spawn(move || {
                for receipt in share {
                    target.admin("GET", &format!("/receipts/{receipt}")).send().expect(200);
                }
            });
        }
    });
}

/// Sends over one connection until all requests are sent; returns the receipts of the successes.
fn client(listen: &str, key: &str, next: &AtomicUsize) -> Vec<String> {
    let stream = TcpStream::connect(listen).expect("connects");
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let (mut stream, mut receipts) = (stream, Vec::new());
    while next.fetch_add(1, Ordering::Relaxed) < REQUESTS {
        let body = r#"{"data":["a","b"]}"#;
        let request = format!(
            "POST /api/v1/anomalies/detect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let (status, receipt) = answer(&mut reader);
        match (status, receipt) {
            (200, Some(receipt)) => receipts.push(receipt),
            (429, None) => {}
            other => panic!("neither a success with a receipt nor a denial: {other:?}"),
        }
    }
    receipts
}

/// Reads one answer: its status and receipt.
fn answer(reader: &mut impl BufRead) -> (u16, Option<String>) {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a status line");
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let (mut length, mut receipt) = (0, None);
    loop {
        line.clear();
        reader.read_line(&mut line).expect("a header");
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "x-usage-receipt" => receipt = Some(value.to_owned()),
            _ => {}
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).expect("the body");
    (status, receipt)
}
