//! Requests that no HTTP client sends, written as bytes over TCP.
//!
//! The answer is read while the request is still being written, since a gateway may refuse a body
//! long before its end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::answer::Answer;
use crate::target::{PATIENCE, Target};

/// Sends a head (without its empty line) and reads the answer. `Host` and `Connection: close` are
/// added.
///
/// # Panics
/// When the gateway does not answer HTTP.
#[must_use]
pub fn head(target: &Target, request_line: &str, headers: &[(&str, &str)]) -> Answer {
    exchange(target, request_line, headers, std::iter::empty())
}

/// Sends a head and then pieces of a body, until the gateway stops reading.
///
/// # Panics
/// When the gateway does not answer HTTP.
#[must_use]
pub fn exchange(
    target: &Target,
    request_line: &str,
    headers: &[(&str, &str)],
    pieces: impl Iterator<Item = Vec<u8>>,
) -> Answer {
    let bytes = sent(target, request_line, headers, pieces);
    parse(&bytes).unwrap_or_else(|| {
        panic!("{request_line}: no HTTP answer: {:?}", String::from_utf8_lossy(&bytes))
    })
}

/// As [`head`], if the gateway may already be closing the connection.
#[must_use]
pub fn try_head(target: &Target, request_line: &str, headers: &[(&str, &str)]) -> Option<Answer> {
    parse(&sent(target, request_line, headers, std::iter::empty()))
}

fn sent(
    target: &Target,
    request_line: &str,
    headers: &[(&str, &str)],
    pieces: impl Iterator<Item = Vec<u8>>,
) -> Vec<u8> {
    let mut stream = connect(target);
    let mut reading = stream.try_clone().expect("a second handle of the connection");
    let reader = std::thread::spawn(move || read_to_end(&mut reading));
    let mut text = format!("{request_line}\r\nHost: {}\r\n", target.authority());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("Connection: close\r\n\r\n");
    let bodies = std::iter::once(text.into_bytes()).chain(pieces);
    for piece in bodies {
        // Some cases expect a refusal in the middle of the body.
        if stream.write_all(&piece).is_err() || reader.is_finished() {
            break;
        }
    }
    let bytes = reader.join().expect("the reader does not panic");
    let _ = stream.shutdown(Shutdown::Both);
    bytes
}

/// One chunk of a chunked body.
#[must_use]
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn connect(target: &Target) -> TcpStream {
    let stream = TcpStream::connect(target.authority()).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Reads one answer, or until the peer closes; a reset after the answer is ignored.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return bytes,
        }
        if parse(&bytes).is_some_and(|answer| is_complete(&answer)) {
            return bytes;
        }
    }
}

fn is_complete(answer: &Answer) -> bool {
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    length.is_some_and(|length: usize| answer.body.len() >= length)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_far_as_it_came() {
        let bytes = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 2\r\n\r\nab";
        let answer = parse(bytes).expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (413, "ab"));
        assert!(is_complete(&answer));
        assert!(parse(&bytes[..20]).is_none());
        assert!(!is_complete(&parse(&bytes[..bytes.len() - 1]).expect("a head")));
    }

    #[test]
    fn chunks_are_framed() {
        assert_eq!(chunk(&[b'x'; 17]), b"11\r\nxxxxxxxxxxxxxxxxx\r\n");
    }
}
