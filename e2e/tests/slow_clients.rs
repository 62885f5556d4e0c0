//! Three forms of deliberately slow clients, together with ordinary ones: the ordinary clients are
//! not delayed, and no connection needs much memory.
//!
//! `cargo xtask prove slow-clients`
//! prints the figures at full size.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::{DETECT, Key, LIST, Organization};
use driftlock_e2e::poll::within;
use serde_json::json;
use support::backend::{Backend, LARGE};
use support::gateway::Gateway;

const SLOW: usize = 150;
/// Connections whose memory is measured: many, so that other growth of the process matters little.
const IDLE: usize = 400;
const NORMAL: usize = 32;
const ROUNDS: usize = 40;
/// Time between two bytes of a slow client: short enough for the idle timeouts.
const DRIP: Duration = Duration::from_millis(200);
/// The most bytes that one idle connection may hold.
const IDLE_MAX: u64 = 48 << 10;
/// Bound of an ordinary request; a slow client's timeouts must not delay it.
const P99_MAX: Duration = Duration::from_secs(1);

fn slow_clients() -> usize {
    let asked = std::env::var("DRIFTLOCK_SLOW_CLIENTS").ok();
    asked.map_or(SLOW, |text| text.parse().expect("DRIFTLOCK_SLOW_CLIENTS is a number"))
}

fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("KiB") << 10
}

fn connect(gateway: &Gateway) -> TcpStream {
    TcpStream::connect(gateway.address()).expect("it listens")
}

/// The latency that 99 of 100 requests of ordinary clients stay under.
fn p99(gateway: &Gateway, request: &str) -> Duration {
    let mut all: Vec<Duration> = thread::scope(|scope| {
        let client = || {
            let mut stream = connect(gateway);
            let mut buffer = [0; 4_096];
            let ask = |_| {
                let began = Instant::now();
                stream.write_all(request.as_bytes()).expect("it reads");
                let count = stream.read(&mut buffer).expect("it answers");
                assert!(buffer[..count].starts_with(b"HTTP/1.1 200 "));
                began.elapsed()
            };
            (0..ROUNDS).map(ask).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..NORMAL).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    all.sort();
    all[all.len() * 99 / 100]
}

/// Clients that send a head, send a body, or read an answer as slowly as they may.
fn drip(slow: &mut [TcpStream], key: &Key<'_>, over: &AtomicBool) {
    let authorization = format!("Host: x\r\nAuthorization: Bearer {}\r\n", key.secret);
    for (place, stream) in slow.iter_mut().enumerate() {
        let start = match place % 3 {
            0 => "GET / HTTP/1.1\r\nX-Slow: ".to_owned(),
            1 => format!(
                "POST {DETECT} HTTP/1.1\r\n{authorization}Content-Type: text/plain\r\n\
                 Content-Length: 100000\r\n\r\n"
            ),
            _ => format!("GET {LARGE} HTTP/1.1\r\n{authorization}\r\n"),
        };
        let _ = stream.write_all(start.as_bytes());
        // Bytes that have not arrived yet are read in a later round.
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    }
    let mut buffer = [0; 1];
    while !over.load(Ordering::Relaxed) {
        for (place, stream) in slow.iter_mut().enumerate() {
            // Closed connections had reached their timeouts.
            let _ = match place % 3 {
                2 => stream.read(&mut buffer).map(drop),
                _ => stream.write_all(b"x"),
            };
        }
        thread::sleep(DRIP);
    }
}

#[test]
fn slow_clients_do_not_delay_others() {
    let backend = Backend::start();
    let gateway = Gateway::start("", &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1_000}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000_000}));
    let request =
        format!("GET {LIST} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", key.secret);
    let count = slow_clients();

    p99(&gateway, &request);
    let before = p99(&gateway, &request);
    let resident = resident_bytes(gateway.process_id());
    let idle: Vec<TcpStream> = (0..count.max(IDLE)).map(|_| connect(&gateway)).collect();
    // They are all accepted once a later one is served.
    p99(&gateway, &request);
    let each = resident_bytes(gateway.process_id()).saturating_sub(resident) / idle.len() as u64;
    drop(idle);

    let mut slow: Vec<TcpStream> = (0..count).map(|_| connect(&gateway)).collect();
    let over = AtomicBool::new(false);
    let during = thread::scope(|scope| {
        scope.spawn(|| drip(&mut slow, &key, &over));
        thread::sleep(DRIP * 3);
        let during = p99(&gateway, &request);
        over.store(true, Ordering::Relaxed);
        during
    });
    eprintln!("figure slow clients = {count}");
    eprintln!("figure bytes per idle connection = {each}");
    within("p99 of ordinary clients before", before, P99_MAX);
    within("p99 of ordinary clients beside the slow ones", during, P99_MAX);
    assert!(each < IDLE_MAX, "{each} bytes per idle connection");
    assert_eq!(backend.written_at_length(), 0, "who reads slowly is waited for, all the way back");
    assert_eq!(organization.units(), 0, "what never came was not charged");
}
