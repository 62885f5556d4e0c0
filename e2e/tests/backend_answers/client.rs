//! A client with a persistent connection that reads answers strictly by HTTP/1.1.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Client {
    address: String,
    connection: Option<BufReader<TcpStream>>,
}

/// The part of an answer that arrived.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) is_whole: bool,
}

impl Seen {
    /// A header that may occur at most once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(found, _)| found == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice: {:?}", self.headers);
        value
    }
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), connection: None }
    }

    /// Sends a request and reads its answer, over the previous connection if it is open.
    pub(crate) fn ask(&mut self, method: &str, request: &str) -> Seen {
        let connection = self.connection.get_or_insert_with(|| {
            let stream = TcpStream::connect(&self.address).expect("the gateway listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.set_nodelay(true).expect("an option");
            BufReader::new(stream)
        });
        connection.get_mut().write_all(request.as_bytes()).expect("the gateway reads");
        let mut seen = read(connection, method);
        let closes = seen.header("connection").is_some_and(|value| value == "close");
        if closes || !seen.is_whole {
            self.connection = None;
        } else {
            nothing_follows(connection, &seen);
        }
        seen.headers.shrink_to_fit();
        seen
    }
}

fn read(connection: &mut BufReader<TcpStream>, method: &str) -> Seen {
    let first = line(connection);
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {first:?}"));
    let mut headers = Vec::new();
    loop {
        let line = line(connection);
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}"));
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut seen = Seen { status, headers, body: Vec::new(), is_whole: true };
    let length = seen.header("content-length").map(|text| text.parse::<usize>().expect("a number"));
    let is_chunked = seen.header("transfer-encoding").is_some_and(|coding| coding == "chunked");
    assert!(!is_chunked || length.is_none(), "two framings: {:?}", seen.headers);
    if method == "HEAD" || matches!(status, 204 | 304) {
        return seen;
    }
    seen.is_whole = match length {
        Some(length) => take(connection, length, &mut seen.body),
        None if is_chunked => chunks(connection, &mut seen.body),
        None => panic!("no framing: {:?}", seen.headers),
    };
    seen
}

/// Whether that many bytes arrived.
fn take(connection: &mut BufReader<TcpStream>, bytes: usize, body: &mut Vec<u8>) -> bool {
    let read = connection.take(bytes as u64).read_to_end(body);
    read.is_ok_and(|read| read == bytes)
}

/// Whether the last chunk arrived.
fn chunks(connection: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> bool {
    loop {
        let mut size = String::new();
        if !connection.read_line(&mut size).is_ok_and(|read| read > 0) {
            return false;
        }
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
        let mut end = Vec::new();
        if !take(connection, size, body) || !take(connection, 2, &mut end) {
            return false;
        }
        assert_eq!(end, b"\r\n", "a chunk's end, or that of the trailer");
        if size == 0 {
            return true;
        }
    }
}

fn line(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    connection.read_line(&mut line).expect("an answer");
    let line = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("no line: {line:?}"));
    line.to_owned()
}

fn nothing_follows(connection: &mut BufReader<TcpStream>, seen: &Seen) {
    let left = connection.buffer();
    assert!(left.is_empty(), "behind {seen:?}: {:?}", String::from_utf8_lossy(left));
    let stream = connection.get_ref();
    stream.set_nonblocking(true).expect("an option");
    match stream.peek(&mut [0]) {
        // The connection was closed; the next request needs a new one.
        Ok(0) => {}
        Ok(_) => panic!("more bytes behind {seen:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "behind {seen:?}"),
    }
    stream.set_nonblocking(false).expect("an option");
}
