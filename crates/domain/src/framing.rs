//! Follows the requests of one HTTP/1.1 connection through its bytes, before the host's HTTP
//! library mends them: a second header line that frames the body (`Content-Length`,
//! `Transfer-Encoding`) is what request smuggling is made of (RFC 9112, section 6.3), and the
//! library takes one and drops the other without a word.
//!
//! Bodies are followed by the one framing that they have, so that every head is looked at, whatever
//! it came in one piece with. Invariant: a head is only passed while the library and this agree
//! where it begins; what cannot be followed ends the connection's requests. Of the bytes it keeps
//! nothing but the start of a line that came in pieces.

/// Why a head is refused by its bytes. As an extension of a request's head it tells the filter what
/// the HTTP library does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedHead {
    /// The body is framed more than once, or the head is not where it has to be.
    Ambiguous,
    /// There is a `#` in the request line: the library drops the rest of the target.
    Fragment,
}

/// As much of a request that is answered already is read and dropped, in bytes, so that the client
/// gets to read the answer.
pub const UNWANTED_BYTES_MAX: u64 = 256 << 10;

/// What becomes of a connection whose request is answered before all of its body came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAnswer {
    /// The rest of the body is read and dropped, then the next request.
    GoesOn,
    /// The answer is the last one, and says so (RFC 9112, section 9.6).
    Closes,
}

/// What becomes of a connection whose request is answered before its body came, of which at least
/// so many bytes are to come.
#[must_use]
pub const fn after_answer(to_come: u64) -> AfterAnswer {
    if to_come > UNWANTED_BYTES_MAX { AfterAnswer::Closes } else { AfterAnswer::GoesOn }
}

/// The longest name looked for, and its colon; a length and some space fits, too.
const TEXT_MAX: usize = 24;

/// The state between two pieces of a connection.
#[derive(Debug, Clone)]
pub struct Framing {
    place: Place,
    /// The start of the line or value that `place` is about.
    text: [u8; TEXT_MAX],
    held: usize,
    body: Body,
    framings: u8,
    /// Heads that came to their end.
    complete: u64,
    /// Heads that the host's library has told of.
    told: u64,
    /// Whether the request line of this head has a `#`.
    has_fragment: bool,
    /// Why the last head is refused.
    refused: Option<RefusedHead>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a head's first line; empty lines there count for nothing.
    Between,
    /// In a head's first line.
    RequestLine,
    /// In a line of the head that may be one of those looked for.
    Name,
    /// In the value of `Content-Length`.
    Length,
    /// In the value of `Transfer-Encoding`.
    Coding,
    /// In another line of the head.
    Line,
    /// In a body, with so many bytes left.
    Body(u64),
    /// In a chunk's size: what it is so far, if it has begun.
    Size(Option<u64>),
    /// After a chunk's size, before its line's end.
    SizeRest(u64),
    /// In a chunk.
    Chunk(u64),
    /// Between a chunk and the next one's size.
    ChunkEnd,
    /// In a line of the trailer: whether it is empty so far.
    Trailer(Empty),
    /// Where nothing is known any more.
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
    /// Framed by something that is neither.
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
            told: 0,
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

    /// The host's library has read another head.
    ///
    /// # Errors
    /// [`RefusedHead`], after which the connection has to end.
    pub fn head_read(&mut self) -> Result<(), RefusedHead> {
        self.told += 1;
        match self.refused {
            Some(refused) if self.told == self.complete => Err(refused),
            _ if self.told > self.complete => Err(RefusedHead::Ambiguous),
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

    /// Whether the bytes so far end where a request ends, and the host's library knows of all of
    /// them.
    #[must_use]
    pub const fn is_between_requests(&self) -> bool {
        matches!(self.place, Place::Between) && self.complete == self.told
    }

    /// Whether a head has begun that the host's library has not told of.
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
            | Place::Lost => self.complete > self.told,
        }
    }

    /// Takes as much as there is of `left` bytes; `then` comes after the last of them.
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
            // The empty line that ends a trailer, a chunk's end, or what counts for nothing.
            (_, b'\r') if self.held == 0 => self.held = 1,
            (Place::Between | Place::Trailer(_), b'\n') => {
                (self.place, self.held) = (Place::Between, 0);
            }
            (Place::ChunkEnd, b'\n') => (self.place, self.held) = (Place::Size(None), 0),
            (Place::Between, _) if self.held == 0 => {
                // Its first byte belongs to a method, or the head is none.
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

    /// A line's end where a name may begin: the head's end, if there is nothing else in the line.
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

/// A number of nothing but digits.
fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of so many heads, in pieces of this size.
    fn verdicts<const N: usize>(bytes: &str, piece: usize) -> [bool; N] {
        let mut framing = Framing::default();
        bytes.as_bytes().chunks(piece).for_each(|bytes| framing.feed(bytes));
        std::array::from_fn(|_| framing.head_read().is_ok())
    }

    const PIECES: [usize; 5] = [1, 2, 3, 7, 4_096];

    #[test]
    fn a_second_framing_is_found_however_it_comes() {
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
    fn one_framing_is_none_too_many() {
        let head = "POST /content-length: HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\
                    X-Content-Length: 3\r\nContent-Length-Hint: 4\r\nTE: trailers\r\n\
                    Content-Length: 38\r\n\r\nContent-Length: 4\r\nContent-Length: 4\r\n";
        for piece in PIECES {
            assert_eq!(verdicts(head, piece), [true, false], "what stands in a body is no header");
        }
    }

    #[test]
    fn heads_are_looked_at_wherever_they_begin() {
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
    fn what_cannot_be_followed_is_the_last() {
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
    fn a_connection_goes_on_after_a_body_that_is_soon_read() {
        assert_eq!(after_answer(0), AfterAnswer::GoesOn);
        assert_eq!(after_answer(UNWANTED_BYTES_MAX), AfterAnswer::GoesOn);
        assert_eq!(after_answer(UNWANTED_BYTES_MAX + 1), AfterAnswer::Closes);
    }

    #[test]
    fn a_fragment_ends_the_connection_s_requests() {
        let first = "GET /a%23b?c HTTP/1.1\r\nReferer: /#top\r\n\r\n";
        for line in ["GET /a#b HTTP/1.1", "GET /# HTTP/1.1", "GET /a?b#c HTTP/1.1", "#"] {
            for piece in PIECES {
                let mut framing = Framing::default();
                let bytes = format!("{first}\r\n{line}\r\nHost: a\r\n\r\n{first}");
                bytes.as_bytes().chunks(piece).for_each(|bytes| framing.feed(bytes));
                assert_eq!(framing.head_read(), Ok(()), "a # elsewhere is none of a target");
                assert_eq!(framing.head_read(), Err(RefusedHead::Fragment), "{line}, {piece}");
                assert_eq!(framing.head_read(), Err(RefusedHead::Ambiguous), "what follows it");
            }
        }
    }

    #[test]
    fn a_body_is_no_head_under_way() {
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
