//! A backend that mixes correct answers with malformed ones. The request names the kind of answer;
//! the body of an answer consists of the request's token.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The kind of an answer, and what the client must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// With a length.
    Honest,
    /// In chunks.
    Chunked,
    /// Up to the end of the connection.
    UntilClose,
    /// `Content-Length: N, N`.
    LengthTwice,
    /// Two equal lines.
    LengthLines,
    /// In chunks, and with a length that is too small.
    BothShort,
    /// In chunks, and with a length that is too great.
    BothLong,
    /// Two lengths that differ.
    Lengths,
    /// A coding that the gateway did not ask for.
    Gzip,
    /// Status 700, which does not exist.
    Status700,
    /// 204, and then a body in a second write.
    Late204,
    /// 304, and then a body in a second write.
    Late304,
    /// An answer to HEAD, and then its body in a second write.
    LateHead,
    /// A correct answer and another one in the same write.
    Surplus,
    /// A correct answer and another one in a second write.
    Unasked,
    /// It ends before its length.
    Truncated,
    /// It ends within a chunk.
    TruncatedChunk,
}

/// What a client must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// The whole body with this status.
    Whole(u16),
    /// The head, and an incomplete body.
    BrokenOff,
    /// A problem document, not charged.
    Refused,
}

impl Kind {
    pub(crate) const ALL: [Self; 17] = [
        Self::Honest,
        Self::Chunked,
        Self::UntilClose,
        Self::LengthTwice,
        Self::LengthLines,
        Self::BothShort,
        Self::BothLong,
        Self::Lengths,
        Self::Gzip,
        Self::Status700,
        Self::Late204,
        Self::Late304,
        Self::LateHead,
        Self::Surplus,
        Self::Unasked,
        Self::Truncated,
        Self::TruncatedChunk,
    ];

    pub(crate) fn right(self) -> Right {
        match self {
            Self::Honest
            | Self::Chunked
            | Self::UntilClose
            | Self::LengthTwice
            | Self::LengthLines
            | Self::BothShort
            | Self::BothLong
            | Self::LateHead
            | Self::Surplus
            | Self::Unasked => Right::Whole(200),
            Self::Late204 => Right::Whole(204),
            Self::Late304 => Right::Whole(304),
            Self::Lengths | Self::Gzip | Self::Status700 => Right::Refused,
            Self::Truncated | Self::TruncatedChunk => Right::BrokenOff,
        }
    }

    fn parse(text: &str) -> Self {
        let number: usize = text.parse().expect("a kind's number");
        Self::ALL[number]
    }

    /// The name of the kind in a request.
    pub(crate) fn number(self) -> usize {
        Self::ALL.iter().position(|kind| *kind == self).expect("each is listed")
    }
}

/// The body that belongs to a token.
pub(crate) fn body(token: &str, bytes: usize) -> Vec<u8> {
    format!("<{token}>").bytes().cycle().take(bytes).collect()
}

/// See the module.
pub(crate) struct Hostile {
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    gaps: Arc<Mutex<HashMap<String, Duration>>>,
}

impl Hostile {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (connections, gaps) = (Arc::default(), Arc::default());
        let hostile = Self { url, connections: Arc::clone(&connections), gaps: Arc::clone(&gaps) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::Relaxed);
                let gaps = Arc::clone(&gaps);
                // If the gateway closes the connection, only this thread ends.
                thread::spawn(move || serve(stream, &gaps));
            }
        });
        hostile
    }

    /// The number of connections that were opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many second writes came later than this after the first, because the machine was busy.
    pub(crate) fn gaps_beyond(&self, time: Duration) -> usize {
        let gaps = self.gaps.lock().expect("no panic holds it");
        gaps.values().filter(|gap| **gap > time).count()
    }
}

fn serve(stream: TcpStream, gaps: &Mutex<HashMap<String, Duration>>) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = String::new();
        while !lines.ends_with("\r\n\r\n") {
            if reader.read_line(&mut lines)? == 0 {
                return Ok(());
            }
        }
        let header = |name: &str| {
            let line = lines.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let length = header("content-length:").parse().unwrap_or(0);
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        let (token, kind) = (header("x-token:"), Kind::parse(&header("x-kind:")));
        // With Nagle's algorithm a second write waits for the acknowledgement of the first.
        writer.set_nodelay(header("x-nodelay:") == "1")?;
        let bytes = header("x-bytes:").parse().expect("a size");
        let Answer { first, second, goes_on } = answer(kind, &token, bytes);
        writer.write_all(&first)?;
        if !second.is_empty() {
            let began = Instant::now();
            writer.write_all(&second)?;
            gaps.lock().expect("no panic holds it").insert(token, began.elapsed());
        }
        if !goes_on {
            return Ok(());
        }
    }
}

struct Answer {
    first: Vec<u8>,
    second: Vec<u8>,
    goes_on: bool,
}

fn answer(kind: Kind, token: &str, bytes: usize) -> Answer {
    let body = body(token, bytes);
    let head = |status: &str, lines: &str| {
        let type_ = "content-type: text/plain";
        format!("HTTP/1.1 {status}\r\nx-echo: {token}\r\n{type_}\r\n{lines}\r\n").into_bytes()
    };
    let with = |lines: &str, body: &[u8]| [head("200 OK", lines), body.to_vec()].concat();
    let length = |length: usize| format!("content-length: {length}\r\n");
    let chunked = "transfer-encoding: chunked\r\n";
    let chunks = || {
        let (one, two) = body.split_at(bytes / 2);
        let mut made = Vec::new();
        for part in [one, two] {
            if !part.is_empty() {
                made.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                made.extend_from_slice(part);
                made.extend_from_slice(b"\r\n");
            }
        }
        [made, b"0\r\n\r\n".to_vec()].concat()
    };
    let stray = format!("stray of {token}").into_bytes();
    let unasked = || [head("200 OK", &length(stray.len())), stray.clone()].concat();
    let honest = || with(&length(bytes), &body);
    let (first, second) = match kind {
        Kind::Honest => (honest(), Vec::new()),
        Kind::Chunked => (with(chunked, &chunks()), Vec::new()),
        Kind::UntilClose => (with("", &body), Vec::new()),
        Kind::LengthTwice => {
            (with(&format!("content-length: {bytes}, {bytes}\r\n"), &body), Vec::new())
        }
        Kind::LengthLines => (with(&length(bytes).repeat(2), &body), Vec::new()),
        Kind::BothShort => (with(&(length(bytes / 2) + chunked), &chunks()), Vec::new()),
        Kind::BothLong => {
            (with(&(chunked.to_owned() + &length(bytes + 99)), &chunks()), Vec::new())
        }
        Kind::Lengths => (with(&(length(bytes) + &length(bytes + 1)), &body), Vec::new()),
        Kind::Gzip => (with("transfer-encoding: gzip, chunked\r\n", &chunks()), Vec::new()),
        Kind::Status700 => ([head("700 Odd", &length(bytes)), body.clone()].concat(), Vec::new()),
        Kind::Late204 => (head("204 No Content", ""), stray.clone()),
        Kind::Late304 => (head("304 Not Modified", ""), unasked()),
        Kind::LateHead => (head("200 OK", &length(bytes)), body.clone()),
        Kind::Surplus => ([honest(), unasked()].concat(), Vec::new()),
        Kind::Unasked => (honest(), unasked()),
        Kind::Truncated => (with(&length(bytes + 1), &body), Vec::new()),
        Kind::TruncatedChunk => (
            with(chunked, &[format!("{:x}\r\n", bytes + 1).as_bytes(), &body].concat()),
            Vec::new(),
        ),
    };
    let ends = matches!(kind, Kind::UntilClose | Kind::Truncated | Kind::TruncatedChunk);
    Answer { first, second, goes_on: !ends }
}
