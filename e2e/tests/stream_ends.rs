//! Event streams and WebSockets end when their key is revoked or expires, or when their
//! organization is suspended.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use driftlock_domain::time::Timestamp;
use driftlock_e2e::admin::{Key, Organization};
use driftlock_e2e::poll::eventually;
use serde_json::json;
use support::gateway::Gateway;
use tungstenite::Message;
use tungstenite::http::Request;

/// Streams are checked often, so that the test need not wait.
const CONFIG: &str = "[keys]\nstream_check_ms = 100\n\
    [[routes]]\nmethod = \"GET\"\npath = \"/api/v1/stream/anomalies\"\nstream = true\n\
    [[routes]]\nmethod = \"GET\"\npath = \"/api/v1/live\"\nunits = 1\nwebsocket = true\n\
    [[routes]]\nmethod = \"GET\"\npath = \"/api/v1/anomalies\"\n";
const PATIENCE: Duration = Duration::from_secs(20);
const EVENT: &[u8] = b"c\r\ndata: tick\n\n\r\n";

/// A backend that sends an event every 20 ms and counts its open streams.
fn ticking() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let open = Arc::clone(&counted);
            thread::spawn(move || {
                open.fetch_add(1, Ordering::SeqCst);
                // It ends when the gateway closes the connection.
                let _ = tick(stream);
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (url, open)
}

fn tick(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    loop {
        stream.write_all(EVENT)?;
        thread::sleep(Duration::from_millis(20));
    }
}

/// Opens an event stream and reads its first events.
fn events(gateway: &Gateway, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!(
        "GET /api/v1/stream/anomalies HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut read = Vec::new();
    while !read.windows(4).any(|bytes| bytes == b"tick") {
        let mut piece = [0; 1_024];
        let length = stream.read(&mut piece).expect("it goes on");
        assert!(length > 0, "it ended: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..length]);
    }
    stream
}

/// Reads until the stream has ended properly: the last chunk, and nothing after it for a while.
fn ends(mut stream: TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n0\r\n\r\n") {
        let mut piece = [0; 1_024];
        let length = stream.read(&mut piece).expect("it ends in time");
        assert!(length > 0, "it ends with its last chunk: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..length]);
    }
}

fn check(end: impl FnOnce(&Organization<'_>, &Key<'_>), reason: &str) {
    let (url, open) = ticking();
    let gateway = Gateway::start(CONFIG, &url);
    let target = gateway.target();
    let (organization, other) = (Organization::new(&target), Organization::new(&target));
    let key = organization.key_with(json!({ "scopes": ["*"] }));
    let kept = other.key_with(json!({ "scopes": ["*"] }));
    let (first, second) = (events(&gateway, &key.secret), events(&gateway, &key.secret));
    let mut stays = events(&gateway, &kept.secret);
    eventually("three are open", || (open.load(Ordering::SeqCst) == 3).then_some(()));
    end(&organization, &key);
    ends(first);
    ends(second);
    eventually("the backend is let go", || (open.load(Ordering::SeqCst) == 1).then_some(()));
    stays.read_exact(&mut [0; 200]).expect("another organization's stream goes on");
    let ended = eventually("it is audited", || {
        let rows = organization.audit();
        let ended: Vec<_> = rows.into_iter().filter(|row| row["outcome"] == "ended").collect();
        (ended.len() == 2).then_some(ended)
    });
    assert_eq!(ended[0]["details"]["reason"], reason, "{ended:?}");
}

#[test]
fn event_streams_of_a_revoked_key_end() {
    let revoke = |_: &Organization<'_>, key: &Key<'_>| {
        key.admin("POST", "/revoke").send().expect(200);
    };
    check(revoke, "key-revoked");
}

#[test]
fn event_streams_of_a_suspended_organization_end() {
    let suspend = |organization: &Organization<'_>, _: &Key<'_>| {
        organization.patch(&json!({ "status": "suspended" }));
    };
    check(suspend, "subscription-inactive");
}

#[test]
fn event_streams_of_a_key_that_expires_end() {
    let (url, _open) = ticking();
    let gateway = Gateway::start(CONFIG, &url);
    let target = gateway.target();
    let organization = Organization::new(&target);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let now = Timestamp::from_secs(i64::try_from(since.as_secs()).expect("before 2262"));
    let expires_at = now.plus(Duration::from_secs(3)).to_string();
    let key = organization.key_with(json!({ "scopes": ["*"], "expires_at": expires_at }));
    ends(events(&gateway, &key.secret));
}

#[test]
fn websockets_of_a_revoked_key_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (sender, ended) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("it connects");
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        while let Ok(message) = socket.read() {
            if message.is_text() && socket.send(message).is_err() {
                break;
            }
        }
        sender.send(()).expect("the test waits");
    });
    let gateway = Gateway::start(CONFIG, &url);
    let target = gateway.target();
    let organization = Organization::new(&target);
    let key = organization.key_with(json!({ "scopes": ["*"] }));
    let stream = TcpStream::connect(gateway.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = Request::get(format!("ws://{}/api/v1/live", gateway.address()))
        .header("host", gateway.address())
        .header("authorization", format!("Bearer {}", key.secret))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", tungstenite::handshake::client::generate_key())
        .body(())
        .expect("a request");
    let (mut socket, _) = tungstenite::client(request, stream).expect("it opens");
    socket.send(Message::text("a")).expect("open");
    assert_eq!(socket.read().expect("open"), Message::text("a"));
    key.admin("POST", "/revoke").send().expect(200);
    ended.recv_timeout(PATIENCE).expect("the backend's side ends");
    assert!(socket.read().is_err(), "so does the client's");
    assert_eq!(organization.units(), 1, "it stays charged");
}
