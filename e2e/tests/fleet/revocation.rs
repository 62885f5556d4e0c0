//! I5 across gateways: the others refuse a key that one revoked within a second, by notification,
//! or by polling if the listening connection is lost.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::{LIST, Organization};
use driftlock_e2e::poll::{DEADLINE, within};
use driftlock_e2e::target::Target;
use serde_json::json;

use super::CONFIG;
use super::support::backend::Backend;
use super::support::fleet::Fleet;

const KEYS: usize = 200;
const BOUND: Duration = Duration::from_secs(1);

#[test]
fn a_revoked_key_is_refused_everywhere_within_a_second() {
    let backend = Backend::start();
    let fleet = Fleet::start_before(2, CONFIG, &backend.url);
    let (revoking, other) = (fleet.target(0), fleet.target(1));
    let organization = Organization::new(&revoking);
    let mut took: Vec<Duration> =
        (0..KEYS).map(|_| until_refused(&organization, &revoking, &other)).collect();
    took.sort();
    within("refused elsewhere after a revocation, median", took[KEYS / 2], BOUND);
    within(
        &format!("refused elsewhere after a revocation, worst of {KEYS}"),
        took[KEYS - 1],
        BOUND,
    );

    // With the listening connection lost, polling finds it.
    let listening = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                     where query = 'listen driftlock_changes'";
    assert_eq!(fleet.sql(listening), "2");
    let polled = until_refused(&organization, &revoking, &other);
    within("refused elsewhere after a revocation, without a notice", polled, BOUND);
}

/// An event stream on one node, whose key another node revokes.
#[test]
fn an_open_stream_ends_on_every_node() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: a\n\n";
                let _ = stream.read(&mut [0; 8_192]);
                let _ = stream.write_all(head);
                // It ends when the gateway closes the connection.
                while stream.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
            });
        }
    });
    let config = format!("{CONFIG}[keys]\nstream_check_ms = 200\n");
    let fleet = Fleet::start_before(2, &config, &url);
    let (revoking, other) = (fleet.target(0), fleet.target(1));
    let organization = Organization::new(&revoking);
    let key = organization.key_with(json!({ "scopes": ["*"] }));
    let mut stream = TcpStream::connect(other.authority()).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let head = format!(
        "GET /api/v1/stream/anomalies HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        key.secret
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut read = Vec::new();
    let mut piece = [0; 1_024];
    let mut revoked = false;
    while !read.ends_with(b"0\r\n\r\n") {
        let length = stream.read(&mut piece).expect("it ends in time");
        assert!(length > 0, "it ends properly: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..length]);
        if !revoked && read.windows(7).any(|bytes| bytes == b"data: a") {
            revoked = true;
            revoking.admin("POST", &format!("/keys/{}/revoke", key.id)).send().expect(200);
        }
    }
    assert!(revoked, "{}", String::from_utf8_lossy(&read));
}

/// The time from the answer to the revocation to the first refusal.
fn until_refused(organization: &Organization<'_>, revoking: &Target, other: &Target) -> Duration {
    let key = organization.key();
    let status = || other.keyed("GET", LIST, &key.secret).send().status;
    assert_eq!(status(), 200, "remembered");
    revoking.admin("POST", &format!("/keys/{}/revoke", key.id)).send().expect(200);
    let revoked = Instant::now();
    assert_eq!(revoking.keyed("GET", LIST, &key.secret).send().status, 401, "at once");
    while status() != 401 {
        assert!(revoked.elapsed() < DEADLINE, "never refused");
    }
    revoked.elapsed()
}
