//! A backend that sends scripted bytes for every request that it has read completely.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// An answer: pieces, each after a pause, and whether the connection then stays open.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) pieces: Vec<(Duration, Vec<u8>)>,
    /// Additional pieces: how many, and of how many bytes.
    pub(crate) repeated: (u64, usize),
    pub(crate) end: End,
}

/// What happens to a connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It waits for the next request.
    Keep,
    /// It is closed.
    Close,
}

/// A request that was received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body_bytes: u64,
    pub(crate) trailers: String,
}

/// See the module.
pub(crate) struct Scripted {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Script {
    /// One piece, at once.
    pub(crate) fn text(text: &str, end: End) -> Self {
        let pieces = vec![(Duration::ZERO, text.as_bytes().to_vec())];
        Self { pieces, repeated: (0, 0), end }
    }
}

impl Scripted {
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (script, seen) = (Arc::new(Mutex::new(script)), Arc::default());
        let (current, requests) = (Arc::clone(&script), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (current, requests) = (Arc::clone(&current), Arc::clone(&requests));
                // If a client disconnects, only its connection ends.
                thread::spawn(move || serve(stream, &current, &requests));
            }
        });
        Self { url, script, seen }
    }

    /// Sets the answer for further requests.
    pub(crate) fn say(&self, script: Script) {
        *self.script.lock().expect("no panic holds it") = script;
    }

    /// Takes the requests so far.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("no panic holds it"))
    }
}

fn serve(
    stream: TcpStream,
    script: &Mutex<Script>,
    seen: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    while let Some(request) = read_request(&mut reader)? {
        seen.lock().expect("no panic holds it").push(request);
        let Script { pieces, repeated, end } = script.lock().expect("no panic holds it").clone();
        for (pause, bytes) in pieces {
            thread::sleep(pause);
            writer.write_all(&bytes)?;
        }
        let piece = vec![b'x'; repeated.1];
        for _ in 0..repeated.0 {
            writer.write_all(&piece)?;
        }
        if end == End::Close {
            break;
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Seen>> {
    let head = read_lines(reader)?;
    if head.is_empty() {
        return Ok(None);
    }
    let lower = head.to_lowercase();
    let mut seen = Seen { head, ..Seen::default() };
    if lower.contains("transfer-encoding: chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
            if size == 0 {
                seen.trailers = read_lines(reader)?;
                return Ok((!line.is_empty()).then_some(seen));
            }
            skip(reader, size)?;
            reader.read_line(&mut String::new())?;
            seen.body_bytes += size;
        }
    }
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    seen.body_bytes = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    skip(reader, seen.body_bytes)?;
    Ok(Some(seen))
}

/// Lines up to an empty one, which is not part of them.
fn read_lines(reader: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut lines = String::new();
    loop {
        let start = lines.len();
        reader.read_line(&mut lines)?;
        if lines[start..].trim().is_empty() {
            lines.truncate(start);
            return Ok(lines);
        }
    }
}

fn skip(reader: &mut BufReader<TcpStream>, bytes: u64) -> std::io::Result<()> {
    let copied = std::io::copy(&mut reader.take(bytes), &mut std::io::sink())?;
    if copied < bytes { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
