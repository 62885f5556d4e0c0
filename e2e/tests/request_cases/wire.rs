//! Sends bytes and observes the outcome.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::support::recorder::Recorder;
use crate::table::Case;

/// How long an open connection must be silent before it counts as kept open.
const QUIET: Duration = Duration::from_millis(300);

/// The outcome of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The first answer's status; `None` when the connection closed without one.
    pub(crate) status: Option<u16>,
    /// All bytes of the answers.
    pub(crate) answer: String,
    /// How much of the request could not be sent any more, in bytes.
    pub(crate) unsent: usize,
    /// Whether the connection was closed.
    pub(crate) closed: bool,
    /// Request lines that the backend saw.
    pub(crate) requests: Vec<String>,
    /// Everything that the backend saw.
    pub(crate) bytes: String,
}

/// Sends a case and observes client and backend.
pub(crate) fn send(gateway: &str, recorder: &Recorder, case: &Case, key: &str) -> Outcome {
    recorder.clear();
    let mut stream = TcpStream::connect(gateway).expect("it listens");
    stream.set_read_timeout(Some(QUIET)).expect("a timeout");
    let mut reading = stream.try_clone().expect("a second handle");
    let reader = std::thread::spawn(move || read(&mut reading));
    let bytes = with_key(&case.bytes, key);
    let mut unsent = bytes.len();
    for part in bytes.chunks(64 << 10) {
        // Some cases expect a refusal in the middle of a body.
        if stream.write_all(part).is_err() || reader.is_finished() {
            break;
        }
        unsent -= part.len();
    }
    let (answer, closed) = reader.join().expect("the reader does not panic");
    let _ = stream.shutdown(Shutdown::Both);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = statuses(&answer).first().copied();
    let mut bytes = recorder.bytes();
    bytes.truncate(4_096.min(bytes.len()));
    let whole = recorder.bytes();
    if whole.ends_with("0\r\n\r\n") && !bytes.ends_with("0\r\n\r\n") {
        bytes.push_str("…0\r\n\r\n");
    }
    Outcome { status, answer, unsent, closed, requests: recorder.requests(), bytes }
}

/// The statuses of the answers in a text.
pub(crate) fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.split("HTTP/1.").skip(1);
    heads.filter_map(|head| head.get(2..5)?.parse().ok()).collect()
}

/// Sends the start at once and then a byte at a time, until there is an answer.
pub(crate) fn trickle(gateway: &str, start: &str) -> String {
    let mut stream = TcpStream::connect(gateway).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    stream.write_all(start.as_bytes()).expect("it reads");
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    for _ in 0..200 {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if stream.write_all(b"x").is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until the other side closes, or nothing has come for a while after the first bytes.
fn read(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let (mut answer, mut buffer, mut quiet) = (Vec::new(), [0; 16 << 10], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (answer, true),
            Ok(count) => {
                answer.extend_from_slice(&buffer[..count]);
                quiet = 0;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                quiet += 1;
                if !answer.is_empty() || quiet > 10 {
                    return (answer, false);
                }
            }
            Err(_) => return (answer, true),
        }
    }
}

fn with_key(bytes: &[u8], key: &str) -> Vec<u8> {
    let mut with = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    // Keys are in heads: only the first few kilobytes are searched.
    while let Some(at) = rest.windows(5).take(4_096).position(|five| five == b"{key}") {
        with.extend_from_slice(&rest[..at]);
        with.extend_from_slice(key.as_bytes());
        rest = &rest[at + 5..];
    }
    with.extend_from_slice(rest);
    with
}
