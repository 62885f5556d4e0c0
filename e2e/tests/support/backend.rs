//! A backend that misbehaves on demand, byte by byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use socket2::SockRef;

/// How a request is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It is answered.
    Answers,
    /// The connection is reset once the request's head was read.
    Resets,
    /// Nothing comes.
    Stalls,
    /// Half a head, then the end of the connection.
    HalfHead,
    /// A head that is no HTTP.
    Nonsense,
    /// A head that promises more than comes.
    HalfBody,
    /// Chunks without the last one.
    HalfChunked,
    /// The backend's own error.
    Fails,
    /// The backend's own error for every second request.
    FailsHalfTheTime,
}

/// A GET of this path gets a long answer.
pub(crate) const LARGE: &str = "/api/v1/anomalies/large";
/// More than the sockets of a client, a gateway and a backend hold together.
const LARGE_BYTES: usize = 16 << 20;

/// Whether the next request fails, to fail every second one.
static TURN: AtomicBool = AtomicBool::new(false);

/// Connections that may wait to be accepted.
const WAITING_MAX: i32 = 4_096;

/// Socket buffer for an answer that is not read.
const BUFFER_BYTES: usize = 128 << 10;

/// See the module.
pub(crate) struct Backend {
    pub(crate) url: String,
    manner: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Vec<String>>>,
    written: Arc<AtomicUsize>,
}

impl Backend {
    /// A backend that answers.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // Many clients connect at once: one dropped by a short accept queue would retry after a
        // second.
        let socket = SockRef::from(&listener);
        socket.listen(WAITING_MAX).expect("it listens already");
        // Unsent bytes take memory of the test's process.
        socket.set_send_buffer_size(BUFFER_BYTES).expect("it may be smaller");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let manner = Arc::new(Mutex::new(Manner::Answers));
        let seen = Arc::default();
        let written = Arc::default();
        let all = (Arc::clone(&manner), Arc::clone(&seen), Arc::clone(&written));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (current, heads, written) = all.clone();
                thread::spawn(move || serve(stream, &current, &heads, &written));
            }
        });
        Self { url, manner, seen, written }
    }

    /// The heads of the requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic holds it").clone()
    }

    /// How many long answers were read to their end.
    pub(crate) fn written_at_length(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// How the next requests are served.
    pub(crate) fn set(&self, manner: Manner) {
        *self.manner.lock().expect("no panic holds it") = manner;
    }
}

/// Serves one connection, until a request that is not simply answered.
fn serve(
    mut stream: TcpStream,
    manner: &Mutex<Manner>,
    seen: &Mutex<Vec<String>>,
    written: &AtomicUsize,
) {
    let mut waiting: Vec<Box<TcpStream>> = Vec::new();
    while let Some(head) = read_request(&mut stream) {
        let is_large = head.starts_with(&format!("GET {LARGE} "));
        seen.lock().expect("no panic holds it").push(head);
        let manner = match *manner.lock().expect("no panic holds it") {
            Manner::FailsHalfTheTime if TURN.fetch_xor(true, Ordering::Relaxed) => Manner::Fails,
            Manner::FailsHalfTheTime => Manner::Answers,
            manner => manner,
        };
        if is_large {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n");
            let body = vec![b'x'; 64 << 10];
            let pieces = std::iter::repeat_n(&body[..], LARGE_BYTES / body.len());
            if !std::iter::once(head.as_bytes())
                .chain(pieces)
                .all(|it| stream.write_all(it).is_ok())
            {
                return;
            }
            written.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let reply: &[u8] = match manner {
            Manner::Answers | Manner::FailsHalfTheTime => {
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            }
            Manner::Fails => b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
            Manner::Resets => return reset(stream),
            Manner::Stalls => {
                // Kept open until the gateway closes it.
                waiting.push(Box::new(stream.try_clone().expect("a second handle")));
                let _ = stream.read(&mut [0; 1]);
                return;
            }
            Manner::HalfHead => b"HTTP/1.1 200 OK\r\nContent-Ty",
            Manner::Nonsense => b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            Manner::HalfBody => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":",
            Manner::HalfChunked => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"half\":\r\n"
            }
        };
        if stream.write_all(reply).is_err() {
            return;
        }
        if !matches!(manner, Manner::Answers | Manner::Fails) {
            return;
        }
    }
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    let at_once = Some(std::time::Duration::ZERO);
    socket2::SockRef::from(&stream).set_linger(at_once).expect("a socket");
}

/// Reads a request with a body of a declared length; returns its head.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let lower = head.to_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0_usize);
            if bytes.len() >= end + 4 + length {
                return Some(head);
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
