//! Looks at a head's bytes before the HTTP library mends them: a second header line that frames the
//! body (`Content-Length`, `Transfer-Encoding`) is what request smuggling is made of (RFC 9112,
//! section 6.3), and the library takes one and drops the other without a word.
//!
//! One pass by lines, over the head alone; it keeps no bytes but the start of a line that came in
//! pieces. A head that follows a body in the same piece is not looked at: the filter's own rules
//! hold for it.

/// The longest name looked for, and its colon.
const START: usize = 18;

/// The state between two pieces of a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadScan {
    start: [u8; START],
    /// How much of the current line is in `start`.
    held: usize,
    /// The current line is none of those looked for: on to its end.
    skipping: bool,
    framings: u8,
    done: bool,
}

impl Default for HeadScan {
    fn default() -> Self {
        Self { start: [0; START], held: 0, skipping: false, framings: 0, done: false }
    }
}

impl HeadScan {
    /// Takes the next piece.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !self.done && !bytes.is_empty() {
            if self.skipping {
                let Some(end) = memchr::memchr(b'\n', bytes) else { return };
                bytes = &bytes[end + 1..];
                (self.skipping, self.held) = (false, 0);
                continue;
            }
            let byte = bytes[0];
            if byte == b'\n' {
                // Nothing but the line's end: the head is over.
                self.done = self.held == 0 || self.start[..self.held] == *b"\r";
                self.held = 0;
            } else {
                self.start[self.held] = byte.to_ascii_lowercase();
                self.held += 1;
                self.look();
            }
            bytes = &bytes[1..];
        }
    }

    /// Whether the body is framed more than once.
    pub(super) const fn is_ambiguous(&self) -> bool {
        self.framings > 1
    }

    fn look(&mut self) {
        let line = &self.start[..self.held];
        let named = |name: &[u8]| line.starts_with(name) || name.starts_with(line);
        if line == b"content-length:" || line == b"transfer-encoding:" {
            self.framings = self.framings.saturating_add(1);
            self.skipping = true;
        } else if line != b"\r" && !named(b"content-length:") && !named(b"transfer-encoding:") {
            self.skipping = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ambiguous(head: &str, piece: usize) -> bool {
        let mut scan = HeadScan::default();
        head.as_bytes().chunks(piece).for_each(|bytes| scan.feed(bytes));
        scan.is_ambiguous()
    }

    #[test]
    fn a_second_framing_is_found_however_it_comes() {
        for lines in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "transfer-encoding: chunked\r\nX: y\r\nCONTENT-LENGTH:4\r\n",
            "Content-Length: 4\r\nContent-Length: 4\r\n",
            "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\nbody");
            for piece in [1, 2, 7, 4_096] {
                assert!(is_ambiguous(&head, piece), "{lines:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn one_framing_is_none_too_many() {
        let head = "POST /content-length: HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\
                    X-Content-Length: 3\r\nContent-Length-Hint: 4\r\nTE: trailers\r\n\
                    Content-Length: 30\r\n\r\nContent-Length: 4\r\nTransfer-Encoding: x\r\n";
        for piece in [1, 3, 4_096] {
            assert!(!is_ambiguous(head, piece), "what stands in a body is no header");
        }
    }
}
