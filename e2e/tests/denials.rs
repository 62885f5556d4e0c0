//! A request that is denied while the client still sends its body: every client reads the denial.
//! Closing a connection with unread bytes would reset it and lose the answer.
//!
//! `cargo xtask prove denials` runs it at full size.

mod support {
    #[expect(dead_code, reason = "this test's backend only answers")]
    pub(crate) mod backend;
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use driftlock_e2e::admin::{DETECT, Organization};
use driftlock_e2e::target::PATIENCE;
use serde_json::json;
use support::backend::Backend;
use support::gateway::Gateway;

/// How much the gateway reads of a request after its answer; also in `docs/operate.md`.
const UNWANTED_MAX: usize = 256 << 10;

fn number(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// A connection like that of Python's `http.client`: head and body in separate writes.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// Status and head of an answer whose body was read to its end.
struct Answered {
    status: u16,
    head: String,
}

impl Client {
    fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.address()).expect("it listens");
        stream.set_nodelay(true).expect("TCP");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream, read: Vec::new() }
    }

    fn ask(&mut self, head: &str, body: &[u8]) -> io::Result<Answered> {
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answered> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.read[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().expect("a number"));
        while self.read.len() < end + length {
            self.more()?;
        }
        self.read.drain(..end + length);
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        Ok(Answered { status, head })
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.read.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }

    /// How the connection ends.
    fn end(&mut self) -> io::Result<usize> {
        self.stream.read(&mut [0; 16])
    }
}

fn head(path: &str, key: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: \
         text/plain\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Clients at their quota, on persistent connections.
#[test]
fn every_denial_at_the_quota_is_read_and_no_connection_is_reset() {
    let (clients, requests) = (number("DRIFTLOCK_CLIENTS", 16), number("DRIFTLOCK_DENIALS", 800));
    let backend = Backend::start();
    let gateway = Gateway::start("", &backend.url);
    let target = gateway.target();
    let organization = Organization::with(&target, json!({"quota": {"included": 1}}));
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 10_000_000}));
    key.detect().expect(200);
    let (connections, resets) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let read = thread::scope(|scope| {
        let client = |number: usize| {
            let (connections, resets) = (&connections, &resets);
            let (gateway, secret) = (&gateway, &key.secret);
            scope.spawn(move || {
                let connect = || {
                    connections.fetch_add(1, Ordering::Relaxed);
                    Client::connect(gateway)
                };
                let (mut client, mut read) = (connect(), 0);
                let more = usize::from(number < requests % clients);
                for round in 0..requests / clients + more {
                    // From less than a packet to more than the gateway reads in one call.
                    let body = vec![b'x'; [10, 3_000, 40_000, 200_000][(number + round) % 4]];
                    match client.ask(&head(DETECT, secret, body.len()), &body) {
                        Ok(answer) => {
                            assert_eq!(answer.status, 429, "{}", answer.head);
                            assert!(!answer.head.contains("connection: close"), "{}", answer.head);
                            read += 1;
                        }
                        Err(_) => {
                            resets.fetch_add(1, Ordering::Relaxed);
                            client = connect();
                        }
                    }
                }
                read
            })
        };
        let all: Vec<_> = (0..clients).map(client).collect();
        all.into_iter().map(|one| one.join().expect("no panic")).sum::<usize>()
    });
    let (connections, resets) = (connections.into_inner(), resets.into_inner());
    eprintln!("figure denied requests = {requests}");
    eprintln!("figure denials read = {read}");
    eprintln!("figure connections reset = {resets}");
    eprintln!("figure connections = {connections}");
    assert_eq!((read, resets), (requests, 0));
    assert_eq!(connections, clients, "each goes on over the connection that it has");
    assert_eq!(organization.units(), 1);
}

#[test]
fn every_kind_of_denial_arrives_and_the_connection_goes_on() {
    let backend = Backend::start();
    let secret = [("ENV_STRIPE_WEBHOOK_SECRET", "whsec_of_the_tests_0123456789abcdef")];
    let gateway = Gateway::start_with("", &backend.url, &secret);
    let target = gateway.target();
    let unpaid = Organization::with(&target, json!({"plan": "standard"}));
    let unpaid = unpaid.key_with(json!({"scopes": ["*"]}));
    let organization = Organization::new(&target);
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 100_000}));
    let reader = organization.key_with(json!({"scopes": ["anomalies:read"]}));
    let body = vec![b'x'; 200_000];
    for (status, path, key) in [
        (401, DETECT, "dlk_unknown"),
        (402, DETECT, &*unpaid.secret),
        (403, DETECT, &*reader.secret),
        (404, "/api/v1/nothing", &*key.secret),
        (405, "/api/v1/anomalies", &*key.secret),
        (401, "/admin/v1/organizations", "no-token"),
        (415, "/webhooks/stripe", "-"),
    ] {
        let mut client = Client::connect(&gateway);
        for _ in 0..2 {
            let answer = client.ask(&head(path, key, body.len()), &body);
            let answer = answer.unwrap_or_else(|error| panic!("{status} {path}: {error}"));
            assert_eq!(answer.status, status, "{path}: {}", answer.head);
        }
    }
}

#[test]
fn a_body_beyond_the_bound_closes_the_connection_which_the_answer_says() {
    let backend = Backend::start();
    let gateway = Gateway::start("", &backend.url);
    let target = gateway.target();
    let organization = Organization::new(&target);
    let key = organization.key_with(json!({"scopes": ["*"], "requests_per_minute": 100_000}));
    for (path, secret, status, length) in
        [(DETECT, "dlk_unknown", 401, UNWANTED_MAX + 1), (DETECT, &*key.secret, 413, 100 << 20)]
    {
        let mut client = Client::connect(&gateway);
        let answer = client.ask(&head(path, secret, length), &vec![b'x'; UNWANTED_MAX - 20_000]);
        let answer = answer.expect("the answer comes before the connection ends");
        assert_eq!(answer.status, status, "{}", answer.head);
        assert!(answer.head.contains("\r\nconnection: close\r\n"), "{}", answer.head);
        assert_eq!(client.end().expect("it ends without a reset"), 0);
    }
}

/// A chunked body has no declared length: a short one is read to its end, a long one is cut off.
#[test]
fn chunks_are_read_to_their_end_or_cut_off() {
    let backend = Backend::start();
    let gateway = Gateway::start("", &backend.url);
    let head = format!(
        "POST {DETECT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer dlk_unknown\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let mut client = Client::connect(&gateway);
    let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
    for _ in 0..2 {
        let body = chunk.repeat(10) + "0\r\n\r\n";
        assert_eq!(client.ask(&head, body.as_bytes()).expect("it goes on").status, 401);
    }
    assert_eq!(client.ask(&head, chunk.as_bytes()).expect("an answer").status, 401);
    // The client sends no more: after a second the connection ends.
    client.stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    assert_eq!(client.end().expect("it ends"), 0);
}

/// A client that waits for `100 Continue` gets the denial, and sends no body after it.
#[test]
fn a_client_that_asks_before_it_sends_is_denied_before_it_sends() {
    let backend = Backend::start();
    let gateway = Gateway::start("", &backend.url);
    let head =
        head(DETECT, "dlk_unknown", 5_000).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let mut client = Client::connect(&gateway);
    let answer = client.ask(&head, b"").expect("an answer");
    assert_eq!(answer.status, 401, "{}", answer.head);
    assert!(answer.head.contains("\r\nconnection: close\r\n"), "{}", answer.head);
    assert_eq!(client.end().expect("it ends"), 0);
}
