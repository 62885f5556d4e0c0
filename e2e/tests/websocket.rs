//! WebSockets through the gateway: a handshake is a request like any other, then messages pass in
//! both directions, on routes that allow it.

#[path = "support"]
mod support {
    #[expect(dead_code, reason = "stores that are refused are another test's matter")]
    pub(crate) mod gateway;
    pub(crate) mod process;
}

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use driftlock_e2e::admin::{Key, LIST, Organization};
use driftlock_e2e::poll::within;
use serde_json::json;
use support::gateway::Gateway;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::{HeaderMap, HeaderValue};
use tungstenite::{Error, Message, WebSocket, client, protocol};

/// The route of these tests is metered, and this one as well.
const CONFIG: &str = "[timeouts]\nwebsocket_idle_ms = 3000\n\
    [[routes]]\nmethod = \"GET\"\npath = \"/api/v1/live\"\nunits = 1\nwebsocket = true\n\
    [[routes]]\nmethod = \"GET\"\npath = \"/api/v1/anomalies\"\n";
const LIVE: &str = "/api/v1/live";
const PATIENCE: Duration = Duration::from_secs(20);

/// A backend that echoes each message; returns the heads of the handshakes that reached it. It
/// refuses `/api/v1/live?no`.
fn echo() -> (String, Receiver<HeaderMap>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (heads, seen) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let heads = heads.clone();
            thread::spawn(move || {
                let agree = |request: &Request, mut response: Response| {
                    // The receiver may be gone.
                    let _ = heads.send(request.headers().clone());
                    let refused = || {
                        let answer = tungstenite::http::Response::builder().status(403);
                        answer.body(Some("no".to_owned())).expect("an answer")
                    };
                    let protocol = HeaderValue::from_static("v1.live");
                    response.headers_mut().insert("sec-websocket-protocol", protocol);
                    if request.uri().query() == Some("no") { Err(refused()) } else { Ok(response) }
                };
                let Ok(mut socket) = tungstenite::accept_hdr(stream, agree) else { return };
                while let Ok(message) = socket.read() {
                    if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, seen)
}

/// Opens a WebSocket; returns the status and the connection of a refusal.
fn open(gateway: &Gateway, path: &str, key: &str) -> Result<(WebSocket<TcpStream>, Response), u16> {
    let stream = TcpStream::connect(gateway.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = Request::get(format!("ws://{}{path}", gateway.address()))
        .header("host", gateway.address())
        .header("authorization", format!("Bearer {key}"))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "v1.live")
        .header("sec-websocket-key", protocol_key())
        .body(())
        .expect("a request");
    match client(request, stream) {
        Ok((socket, response)) => Ok((socket, response.map(|_nothing| ()))),
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(error) => panic!("{error}"),
    }
}

fn protocol_key() -> String {
    tungstenite::handshake::client::generate_key()
}

fn with(act: impl FnOnce(&Gateway, &Receiver<HeaderMap>, &Organization<'_>, &Key<'_>)) {
    let (url, seen) = echo();
    let gateway = Gateway::start(CONFIG, &url);
    let target = gateway.target();
    let organization = Organization::new(&target);
    let key = organization.key_with(json!({ "scopes": ["*"] }));
    act(&gateway, &seen, &organization, &key);
}

/// A connection cannot be stored: a repetition gets the receipt of the first request.
#[test]
fn an_idempotency_key_opens_one_connection() {
    with(|gateway, seen, organization, key| {
        let head = format!(
            "GET {LIVE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nIdempotency-Key: one\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            key.secret
        );
        let handshake = || {
            let mut stream = TcpStream::connect(gateway.address()).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.write_all(head.as_bytes()).expect("it reads");
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("it answers");
                answer.push(byte[0]);
            }
            (stream, String::from_utf8_lossy(&answer).into_owned())
        };
        let (_open, first) = handshake();
        assert!(first.starts_with("HTTP/1.1 101 ") && first.contains("x-usage-receipt"), "{first}");
        let (_refused, again) = handshake();
        assert!(again.starts_with("HTTP/1.1 409 "), "{again}");
        assert_eq!(organization.units(), 1);
        seen.recv_timeout(PATIENCE).expect("the first");
        assert!(seen.try_recv().is_err(), "the backend saw one handshake");
    });
}

#[test]
fn messages_pass_both_ways_and_the_connection_is_charged_once() {
    with(|gateway, seen, organization, key| {
        let (mut socket, answer) = open(gateway, LIVE, &key.secret).expect("it opens");
        assert!(answer.headers()["x-usage-receipt"].to_str().is_ok_and(|r| r.starts_with("use_")));
        assert!(answer.headers().contains_key("ratelimit"));
        let head = seen.recv_timeout(PATIENCE).expect("it came");
        assert_eq!(head["x-organization-id"], organization.id.as_str());
        assert_eq!(head["sec-websocket-protocol"], "v1.live");
        assert!(!head.contains_key("authorization"), "{head:?}");
        let long = "long ".repeat(300_000);
        for text in ["a", "b", &long] {
            socket.send(Message::text(text)).expect("open");
            assert_eq!(socket.read().expect("open"), Message::text(text));
        }
        socket.close(None).expect("open");
        let ended = loop {
            match socket.read() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(ended, Error::ConnectionClosed), "{ended}");
        assert_eq!(organization.units(), 1);
        let row = organization.audit().into_iter().find(|row| row["action"] == "request");
        assert_eq!(row.expect("a row")["outcome"], "101");
    });
}

#[test]
fn what_is_refused_costs_nothing_and_stays_http() {
    with(|gateway, seen, organization, key| {
        assert_eq!(open(gateway, LIVE, "dlk_unknown").err(), Some(401));
        // A route without WebSockets gets an ordinary request, which this backend cannot answer.
        assert_eq!(open(gateway, LIST, &key.secret).err(), Some(502), "not on this route");
        assert_eq!(open(gateway, "/healthz", &key.secret).err(), Some(200), "nor here");
        let target = gateway.target();
        let part = target.keyed("GET", LIVE, &key.secret).header("upgrade", "websocket");
        part.send().problem(400, "malformed-request");
        assert!(seen.try_recv().is_err(), "the backend saw none of them");
        assert_eq!(open(gateway, "/api/v1/live?no", &key.secret).err(), Some(403), "its word");
        assert_eq!(organization.units(), 0);
        // The same route without a handshake gets an ordinary request, which this backend cannot
        // answer.
        let plain = gateway.target().keyed("GET", LIVE, &key.secret).send();
        assert!((400..600).contains(&plain.status), "{}", plain.text());
        assert_eq!(organization.units(), 0);
    });
}

#[test]
fn a_client_that_sends_before_the_handshake_is_accepted_is_cut_off() {
    with(|gateway, _, _, key| {
        let mut stream = TcpStream::connect(gateway.address()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let handshake = format!(
            "GET {LIVE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n\
             GET /api/v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
            key.secret,
            protocol_key()
        );
        stream.write_all(handshake.as_bytes()).expect("written");
        let mut answer = Vec::new();
        // In any way that the connection is cut off.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    });
}

#[test]
fn silence_ends_it_and_so_does_a_stop() {
    with(|gateway, _, _, key| {
        let (mut socket, _) = open(gateway, LIVE, &key.secret).expect("it opens");
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(4_500) {
            socket.send(Message::text("alive")).expect("open");
            socket.read().expect("what says something stays open");
            thread::park_timeout(Duration::from_millis(100));
        }
        assert!(socket.read().is_err(), "silent for three seconds");

        let (mut socket, _) = open(gateway, LIVE, &key.secret).expect("it opens");
        let pid = gateway.process_id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("it runs").success());
        let since = Instant::now();
        assert!(socket.read().is_err(), "a stop ends it");
        within("a stop ends a WebSocket", since.elapsed(), Duration::from_millis(900));
        let _ = socket.close(Some(protocol::CloseFrame {
            code: protocol::frame::coding::CloseCode::Away,
            reason: "".into(),
        }));
    });
}
