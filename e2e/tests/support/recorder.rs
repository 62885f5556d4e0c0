//! A backend that interprets as little as possible: it records every byte and answers each head.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// See the module.
pub(crate) struct Recorder {
    pub(crate) address: String,
    connections: Connections,
}

type Connections = Arc<Mutex<Vec<Vec<u8>>>>;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let connections = Connections::default();
        let all = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let place = {
                    let mut all = all.lock().expect("no panic holds it");
                    all.push(Vec::new());
                    all.len() - 1
                };
                let all = Arc::clone(&all);
                thread::spawn(move || record(stream, &all, place));
            }
        });
        Self { address, connections }
    }

    /// Forgets the bytes recorded so far, of open connections, too.
    pub(crate) fn clear(&self) {
        self.connections.lock().expect("no panic holds it").iter_mut().for_each(Vec::clear);
    }

    /// Every byte since, connection after connection.
    pub(crate) fn bytes(&self) -> String {
        let all = self.connections.lock().expect("no panic holds it");
        all.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect()
    }

    /// The request lines since.
    pub(crate) fn requests(&self) -> Vec<String> {
        let bytes = self.bytes();
        let lines = bytes.lines().filter(|line| line.ends_with(" HTTP/1.1"));
        lines.map(str::to_owned).collect()
    }
}

/// Answers after each head, or after the chunks that it announces; other bodies are not read.
fn record(mut stream: TcpStream, all: &Connections, place: usize) {
    let (mut buffer, mut tail, mut in_chunks) = ([0; 16 << 10], Vec::new(), false);
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        all.lock().expect("no panic holds it")[place].extend_from_slice(&buffer[..count]);
        tail.extend_from_slice(&buffer[..count]);
        while let Some(end) = tail.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = tail.drain(..end + 4).collect::<Vec<_>>();
            let is_head = head.windows(9).any(|nine| nine == b" HTTP/1.1");
            let is_answered = if is_head {
                in_chunks = head.to_ascii_lowercase().windows(9).any(|nine| nine == b": chunked");
                !in_chunks
            } else {
                std::mem::take(&mut in_chunks)
            };
            if is_answered && stream.write_all(OK).is_err() {
                return;
            }
        }
        if in_chunks {
            // Only the end of the chunks is searched.
            tail.drain(..tail.len().saturating_sub(3));
        }
    }
}
