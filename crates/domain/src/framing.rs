//! Parses the framing of all requests of one HTTP/1.1 connection from its bytes, before the host's
//! HTTP library repairs them. A second header line that frames the body (`Content-Length`,
//! `Transfer-Encoding`) allows request smuggling (RFC 9112, section 6.3), and the library uses one
//! line and silently drops the other.
//!
//! The parser skips each body by its framing, so that it finds every head, wherever one begins in
//! the received pieces. Invariant: a head is only accepted while the library and this parser agree
//! where it begins; after bytes that cannot be parsed, no request of the connection is accepted.
//! The parser buffers only the start of a line that arrived in pieces.

/// Why a head is refused by its bytes. It is set as an extension of the request, since the HTTP
/// library does not report it to the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedHead {
    /// The body is framed more than once, or the head is not where it has to be.
    Ambiguous,
    /// The request line contains a `#`: the library drops the rest of the target.
    Fragment,
}

/// The most bytes of a request that are read and dropped after its response was sent, so that the
/// client can read the response.
pub const UNWANTED_BYTES_MAX: u64 = 256 << 10;

/// What happens to a connection whose request was answered before all of its body arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAnswer {
    /// The gateway reads and drops the rest of the body, then reads the next request.
    Continues,
    /// The gateway closes the connection, and the response says so (RFC 9112, section 9.6).
    Closes,
}

/// What happens to a connection whose request was answered while at least `to_come` bytes of its
/// body are missing.
#[must_use]
pub const fn after_answer(to_come: u64) -> AfterAnswer {
    if to_come > UNWANTED_BYTES_MAX { AfterAnswer::Closes } else { AfterAnswer::Continues }
}

/// Room for the longest name that is searched, with its colon, and for a length with some spaces.
const TEXT_MAX: usize = 24;

/// The state between two pieces of a connection.
#[derive(Debug, Clone)]
pub struct Framing {
    place: Place,
    /// The start of the line or value that is being read at `place`.
    text: [u8; TEXT_MAX],
    held: usize,
    body: Body,
    framings: u8,
    /// Heads that are complete in the bytes so far.
    complete: u64,
    /// Heads that the host's library has reported.
    reported: u64,
    /// Whether the request line of this head has a `#`.
    has_fragment: bool,
    /// Why the last head is refused.
    refused: Option<RefusedHead>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a head's first line; empty lines are ignored there.
    Between,
    /// In a head's first line.
    RequestLine,
    /// In a line of the head that may have one of the searched names.
    Name,
    /// In the value of `Content-Length`.
    Length,
    /// In the value of `Transfer-Encoding`.
    Coding,
    /// In another line of the head.
    Line,
    /// In a body, with this many bytes left.
    Body(u64),
    /// In a chunk's size: its value so far, if it has begun.
    Size(Option<u64>),
    /// After a chunk's size, before the end of its line.
    SizeRest(u64),
    /// In a chunk, with this many bytes left.
    Chunk(u64),
    /// Between a chunk and the next chunk's size.
    ChunkEnd,
    /// In a line of the trailer: whether it is empty so far.
    Trailer(Empty),
    /// The framing is unknown: the rest of the connection cannot be parsed.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Sized(u64),
    Chunked,
    /// Framed by an invalid length or an unknown coding.
    Odd,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            place: Place::Between,
            text: [0; TEXT_MAX],
            held: 0,
            body: Body::None,
            framings: 0,
            complete: 0,
            reported: 0,
            has_fragment: false,
            refused: None,
        }
    }
}

impl Framing {
    /// Takes the connection's next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(&byte) = bytes.first() {
            let taken = match self.place {
                Place::Lost => return,
                Place::Body(left) => self.skip(left, bytes.len(), Place::Body, Place::Between),
                Place::Chunk(left) => self.skip(left, bytes.len(), Place::Chunk, Place::ChunkEnd),
                Place::Line => self.skip_to_line_end(bytes, Place::Name),
                Place::RequestLine => {
                    let taken = self.skip_to_line_end(bytes, Place::Name);
                    self.has_fragment |= memchr::memchr(b'#', &bytes[..taken]).is_some();
                    taken
                }
                Place::SizeRest(size) => self.skip_to_line_end(bytes, after_size(size)),
                Place::Trailer(Empty::No) => {
                    self.skip_to_line_end(bytes, Place::Trailer(Empty::Yes))
                }
                Place::Between
                | Place::Name
                | Place::Length
                | Place::Coding
                | Place::Size(_)
                | Place::ChunkEnd
                | Place::Trailer(Empty::Yes) => {
                    self.step(byte);
                    1
                }
            };
            bytes = &bytes[taken..];
        }
    }

    /// Notes that the host's library has reported another head.
    ///
    /// # Errors
    /// [`RefusedHead`], after which the connection has to be closed.
    pub fn head_read(&mut self) -> Result<(), RefusedHead> {
        self.reported += 1;
        match self.refused {
            Some(refused) if self.reported == self.complete => Err(refused),
            _ if self.reported > self.complete => Err(RefusedHead::Ambiguous),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the bytes so far end within a head.
    #[must_use]
    pub const fn is_within_head(&self) -> bool {
        matches!(
            self.place,
            Place::RequestLine | Place::Name | Place::Length | Place::Coding | Place::Line
        )
    }

    /// Whether the bytes so far end where a request ends, and the host's library has reported all
    /// requests.
    #[must_use]
    pub const fn is_between_requests(&self) -> bool {
        matches!(self.place, Place::Between) && self.complete == self.reported
    }

    /// Whether a head has begun that the host's library has not reported yet.
    #[must_use]
    pub const fn is_head_under_way(&self) -> bool {
        match self.place {
            Place::RequestLine | Place::Name | Place::Length | Place::Coding | Place::Line => true,
            Place::Between
            | Place::Body(_)
            | Place::Size(_)
            | Place::SizeRest(_)
            | Place::Chunk(_)
            | Place::ChunkEnd
            | Place::Trailer(_)
            | Place::Lost => self.complete > self.reported,
        }
    }

    /// Skips up to `left` bytes of the `there` bytes that arrived; after the last one, the place is
    /// `then`.
    fn skip(&mut self, left: u64, there: usize, on: fn(u64) -> Place, then: Place) -> usize {
        let taken = usize::try_from(left).unwrap_or(there).min(there);
        let left = left - taken as u64;
        self.place = if left == 0 { then } else { on(left) };
        taken
    }

    fn skip_to_line_end(&mut self, bytes: &[u8], then: Place) -> usize {
        let Some(end) = memchr::memchr(b'\n', bytes) else { return bytes.len() };
        self.place = then;
        end + 1
    }

    fn step(&mut self, byte: u8) {
        match (self.place, byte) {
            (Place::Name, b'\n') => self.end_of_line(),
            (Place::Name, _) => self.name(byte),
            (Place::Length | Place::Coding, b'\n') => self.end_of_value(),
            (Place::Length | Place::Coding, _) => self.value(byte),
            (Place::Size(size), _) => self.size(size, byte),
            // The CR of an empty line: the end of a trailer or chunk, or an ignored line.
            (_, b'\r') if self.held == 0 => self.held = 1,
            (Place::Between | Place::Trailer(_), b'\n') => {
                (self.place, self.held) = (Place::Between, 0);
            }
            (Place::ChunkEnd, b'\n') => (self.place, self.held) = (Place::Size(None), 0),
            (Place::Between, _) if self.held == 0 => {
                // The first byte of a request line.
                (self.place, self.body, self.framings) = (Place::RequestLine, Body::None, 0);
                self.has_fragment = byte == b'#';
            }
            (Place::Trailer(_), _) => (self.place, self.held) = (Place::Trailer(Empty::No), 0),
            _ => self.place = Place::Lost,
        }
    }

    fn name(&mut self, byte: u8) {
        self.text[self.held] = byte.to_ascii_lowercase();
        self.held += 1;
        let line = &self.text[..self.held];
        let named = |name: &[u8]| name.starts_with(line);
        let place = match line {
            b"content-length:" => Place::Length,
            b"transfer-encoding:" => Place::Coding,
            b"\r" => return,
            _ if named(b"content-length:") || named(b"transfer-encoding:") => return,
            _ => Place::Line,
        };
        if place != Place::Line {
            self.framings = self.framings.saturating_add(1);
        }
        (self.place, self.held) = (place, 0);
    }

    fn value(&mut self, byte: u8) {
        if self.held == 0 && matches!(byte, b' ' | b'\t') {
            return;
        }
        if self.held == TEXT_MAX {
            (self.place, self.held, self.body) = (Place::Line, 0, Body::Odd);
            return;
        }
        self.text[self.held] = byte.to_ascii_lowercase();
        self.held += 1;
    }

    fn end_of_value(&mut self) {
        let text = &self.text[..self.held];
        let text = text.strip_suffix(b"\r").unwrap_or(text).trim_ascii_end();
        self.body = match self.place {
            Place::Coding if text == b"chunked" => Body::Chunked,
            Place::Length => decimal(text).map_or(Body::Odd, Body::Sized),
            _ => Body::Odd,
        };
        (self.place, self.held) = (Place::Name, 0);
    }

    /// Handles the end of a line in which no searched name was found: an empty line ends the head.
    fn end_of_line(&mut self) {
        let is_empty = matches!(self.text[..self.held], [] | [b'\r']);
        self.held = 0;
        if !is_empty {
            return;
        }
        self.complete += 1;
        self.place = match self.body {
            _ if self.framings > 1 || self.has_fragment => Place::Lost,
            Body::None | Body::Sized(0) => Place::Between,
            Body::Sized(length) => Place::Body(length),
            Body::Chunked => Place::Size(None),
            Body::Odd => Place::Lost,
        };
        self.refused = match self.place {
            Place::Lost if self.has_fragment => Some(RefusedHead::Fragment),
            Place::Lost => Some(RefusedHead::Ambiguous),
            _ => None,
        };
    }

    fn size(&mut self, size: Option<u64>, byte: u8) {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        self.place = match (digit, size) {
            (Some(digit), size) => match size.unwrap_or(0).checked_mul(16) {
                Some(higher) => Place::Size(Some(higher + digit)),
                None => Place::Lost,
            },
            (None, Some(size)) if byte == b'\n' => after_size(size),
            (None, Some(size)) => Place::SizeRest(size),
            (None, None) => Place::Lost,
        };
    }
}

fn after_size(size: u64) -> Place {
    if size == 0 { Place::Trailer(Empty::Yes) } else { Place::Chunk(size) }
}

/// A number that consists of digits only.
fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each of N heads is accepted, when the bytes arrive in pieces of this size.
    fn verdicts<const N: usize>(bytes: &str, piece: usize) -> [bool; N] {
        let mut framing = Framing::default();
        bytes.as_bytes().chunks(piece).for_each(|bytes| framing.feed(bytes));
        std::array::from_fn(|_| framing.head_read().is_ok())
    }

    const PIECES: [usize; 5] = [1, 2, 3, 7, 4_096];

    #[test]
    fn a_second_framing_is_found_in_pieces_of_any_size() {
        for lines in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "transfer-encoding: chunked\r\nX: y\r\nCONTENT-LENGTH:4\r\n",
            "Content-Length: 4\r\nContent-Length: 4\r\n",
            "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n",
        ] {
            for before in ["", "\r\n", "\n", "\r\n\r\n\n"] {
                let head = format!("{before}POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\nbody");
                for piece in PIECES {
                    let found = verdicts(&head, piece);
                    assert_eq!(found, [false], "{before:?}, {lines:?} in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn a_single_framing_is_accepted() {
        let head = "POST /content-length: HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\
                    X-Content-Length: 3\r\nContent-Length-Hint: 4\r\nTE: trailers\r\n\
                    Content-Length: 38\r\n\r\nContent-Length: 4\r\nContent-Length: 4\r\n";
        for piece in PIECES {
            assert_eq!(verdicts(head, piece), [true, false], "a line of a body is not a header");
        }
    }

    #[test]
    fn heads_are_found_wherever_they_begin() {
        let twice = "POST /b HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx";
        for first in [
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a HTTP/1.1\nContent-Length:\t21 \n\nContent-Length: 5\r\n\r\n",
            "POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
             1a;b=\"c\"\r\nContent-Length: 5\r\n\r\n12345\r\n3\r\n\r\n\n\r\n0\r\nA: b\r\n\r\n",
        ] {
            for piece in PIECES {
                let bytes = format!("{first}{first}\r\n{twice}{first}");
                let found = verdicts(&bytes, piece);
                assert_eq!(found, [true, true, false, false], "{first:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn after_a_framing_that_cannot_be_parsed_no_head_is_accepted() {
        for lines in [
            "Content-Length: +4\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Content-Length: 4                                  \r\n",
            "Transfer-Encoding: identity, chunked\r\n",
        ] {
            let bytes = format!("POST / HTTP/1.1\r\n{lines}\r\nGET / HTTP/1.1\r\n\r\n");
            assert_eq!(verdicts(&bytes, 4_096), [false, false], "{lines:?}");
        }
        for chunks in ["x\r\n", "fffffffffffffffff\r\n", "1\r\nab\r\n", "\r\n"] {
            let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
            let bytes = format!("{head}{chunks}GET / HTTP/1.1\r\n\r\n");
            assert_eq!(verdicts(&bytes, 4_096), [true, false], "{chunks:?}");
        }
    }

    #[test]
    fn a_connection_continues_after_a_short_rest_of_a_body() {
        assert_eq!(after_answer(0), AfterAnswer::Continues);
        assert_eq!(after_answer(UNWANTED_BYTES_MAX), AfterAnswer::Continues);
        assert_eq!(after_answer(UNWANTED_BYTES_MAX + 1), AfterAnswer::Closes);
    }

    #[test]
    fn after_a_fragment_no_head_is_accepted() {
        let first = "GET /a%23b?c HTTP/1.1\r\nReferer: /#top\r\n\r\n";
        for line in ["GET /a#b HTTP/1.1", "GET /# HTTP/1.1", "GET /a?b#c HTTP/1.1", "#"] {
            for piece in PIECES {
                let mut framing = Framing::default();
                let bytes = format!("{first}\r\n{line}\r\nHost: a\r\n\r\n{first}");
                bytes.as_bytes().chunks(piece).for_each(|bytes| framing.feed(bytes));
                assert_eq!(framing.head_read(), Ok(()), "the # is not in the target");
                assert_eq!(framing.head_read(), Err(RefusedHead::Fragment), "{line}, {piece}");
                assert_eq!(framing.head_read(), Err(RefusedHead::Ambiguous), "the next head");
            }
        }
    }

    #[test]
    fn a_body_is_not_a_head_in_progress() {
        let mut framing = Framing::default();
        for (bytes, under_way) in
            [("\r\n", false), ("POST / HT", true), ("TP/1.1\r\nContent-Length: 4\r\n\r\n", true)]
        {
            framing.feed(bytes.as_bytes());
            assert_eq!(framing.is_head_under_way(), under_way, "{bytes:?}");
        }
        assert!(!framing.is_within_head() && !framing.is_between_requests());
        assert!(framing.head_read().is_ok() && !framing.is_head_under_way());
        framing.feed(b"abcd");
        assert!(!framing.is_head_under_way() && framing.is_between_requests());
        framing.feed(b"G");
        assert!(framing.is_head_under_way() && framing.is_within_head());
    }
}
