//! I1 and I2 through `kill -9`: every acknowledged unit is in the ledger once, and there are never
//! more unacknowledged ones than requests were under way.
//!
//! `DRIFTLOCK_CRASHES` sets how often each durability mode is killed; 3 unless set.

mod support {
    pub(crate) mod process;
    pub(crate) mod server;
}

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use driftlock_e2e::admin::Organization;
use serde_json::json;
use support::server::Server;

const CLIENTS: usize = 64;

#[test]
fn fsync_survives_kill_9() {
    survives("fsync");
}

#[test]
fn process_survives_kill_9() {
    survives("process");
}

fn survives(durability: &str) {
    let crashes = std::env::var("DRIFTLOCK_CRASHES").ok().and_then(|text| text.parse().ok());
    let crashes: usize = crashes.unwrap_or(3);
    let mut server = Server::start(&format!("[metering]\ndurability = \"{durability}\"\n"));
    let target = server.target();
    let organization =
        Organization::with(&target, json!({ "quota": { "included": 1_000_000_000_u64 } }));
    let key = organization.key_with(json!({ "requests_per_minute": 100_000_000 }));
    let mut acknowledged = HashSet::new();
    for crash in 0..crashes {
        let more = load_until_killed(&mut server, &key.secret, crash);
        for receipt in more {
            assert!(acknowledged.insert(receipt), "a receipt was given twice");
        }
        server.restart();
        let (units, least) = (organization.units(), acknowledged.len() as u64);
        let most = least + (CLIENTS * (crash + 1)) as u64;
        assert!((least..=most).contains(&units), "{units} units, {least} acknowledged");
    }
    for receipt in &acknowledged {
        let found = target.admin("GET", &format!("/receipts/{receipt}")).send();
        assert_eq!(found.expect(200).json()["units"], 1, "{receipt}");
    }
    let verdict = organization.admin("GET", "/audit/verify").send().expect(200).json();
    assert_eq!(verdict["ok"], true, "{verdict}");
    eprintln!(
        "{durability}: {crashes} crashes, {} acknowledged, {} units",
        acknowledged.len(),
        organization.units()
    );
}

/// Clients send until the server is gone; the receipts of the answers they got.
fn load_until_killed(server: &mut Server, key: &str, crash: usize) -> Vec<String> {
    let listen = server.listen.clone();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let listen = &listen;
                scope.spawn(move || {
                    let mut receipts = Vec::new();
                    while let Some(receipt) = detect(listen, key) {
                        receipts.push(receipt);
                    }
                    receipts
                })
            })
            .collect();
        // Another instant each time; what matters is that requests are under way.
        thread::sleep(Duration::from_millis(150 + 37 * (crash as u64 % 7)));
        server.kill();
        clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect()
    })
}

/// One detection over a connection of its own; its receipt, unless the server was gone.
fn detect(listen: &str, key: &str) -> Option<String> {
    let mut stream = TcpStream::connect(listen).ok()?;
    let body = r#"{"data":["a","b"]}"#;
    write!(
        stream,
        "POST /api/v1/anomalies/detect HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = Vec::new();
    // A head that came counts, whatever became of the rest.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let (head, _) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("http/1.1 200") {
        return None;
    }
    let receipt = head.lines().find_map(|line| line.strip_prefix("x-usage-receipt: "));
    Some(receipt.expect("a metered answer has a receipt").to_owned())
}
