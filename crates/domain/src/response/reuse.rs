//! Whether a backend's connection may carry another request after an answer.
//!
//! HTTP/1.1 matches answers to requests by their order alone. A byte that the backend sends beyond
//! the end of an answer therefore becomes the start of the next answer on that connection, which
//! may be another customer's. So a connection is used again only if the end of the answer was
//! certain, nothing follows it, and no side said that it closes. After an answer that has no body
//! whatever its head says (HEAD, 204, 304), some programs write one, in a second write. Such a
//! connection rests first, and what arrives meanwhile ends it.
//!
//! What no client of HTTP/1.1 can exclude: a byte that arrives later than [`REST`] after the
//! answer's end, and after the next request was sent.

use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, Method, StatusCode, Version};

use super::framing::{BodyFraming, Clarity, ResponseFraming};

/// How long a connection rests after an answer that may have something behind it. A second write of
/// the same program follows the first within microseconds; this covers the network and a busy
/// machine.
pub const REST: Duration = Duration::from_millis(10);

/// How long every connection to a backend rests after each answer once the backend has sent bytes
/// that belong to no answer.
pub const UNTRUSTED_FOR: Duration = Duration::from_secs(600);

/// The longest start of stray bytes that [`is_stray`] looks at.
const STATUS_LINE_START: usize = "HTTP/1.1 408".len();

/// When a connection may carry another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reuse {
    /// As soon as the answer has ended.
    AtOnce,
    /// Once [`REST`] has passed in which nothing came.
    AfterRest,
    /// Never: it is closed after the answer.
    Never,
}

/// What the head of an answer allows. That the answer ended exactly, that the request was sent
/// whole and that nothing follows, the host knows by then.
#[must_use]
pub fn reuse(method: &Method, version: Version, status: StatusCode, headers: &HeaderMap) -> Reuse {
    let Ok(framing) = ResponseFraming::of(method, status, headers) else { return Reuse::Never };
    if framing.clarity == Clarity::Doubtful || !stays_open(version, headers) {
        return Reuse::Never;
    }
    match framing.body {
        BodyFraming::Length(_) | BodyFraming::Chunked => Reuse::AtOnce,
        BodyFraming::None if status != StatusCode::SWITCHING_PROTOCOLS => Reuse::AfterRest,
        BodyFraming::None | BodyFraming::UntilClose => Reuse::Never,
    }
}

/// Whether bytes that came without a request are such that the backend must not be trusted. Servers
/// that close an idle connection may say so with a 408 first (RFC 9110, section 15.5.9).
#[must_use]
pub fn is_stray(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(STATUS_LINE_START)];
    !start.is_empty() && start != b"HTTP/1.1 408" && start != b"HTTP/1.0 408"
}

/// RFC 9112, section 9.3: HTTP/1.1 stays open unless one says `close`, HTTP/1.0 closes unless one
/// says
/// `keep-alive`.
fn stays_open(version: Version, headers: &HeaderMap) -> bool {
    let says = |option: &[u8]| {
        let lines = headers.get_all(CONNECTION).iter();
        let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        options.any(|found| found.trim_ascii().eq_ignore_ascii_case(option))
    };
    !says(b"close") && (version >= Version::HTTP_11 || says(b"keep-alive"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn after(
        method: &Method,
        version: Version,
        status: u16,
        lines: &[(&'static str, &'static str)],
    ) -> Reuse {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        reuse(method, version, StatusCode::from_u16(status).expect("a status"), &headers)
    }

    fn get(status: u16, lines: &[(&'static str, &'static str)]) -> Reuse {
        after(&Method::GET, Version::HTTP_11, status, lines)
    }

    #[test]
    fn an_answer_with_a_certain_end() {
        assert_eq!(get(200, &[("content-length", "3")]), Reuse::AtOnce);
        assert_eq!(get(404, &[("transfer-encoding", "chunked")]), Reuse::AtOnce);
        assert_eq!(get(205, &[("content-length", "0")]), Reuse::AtOnce);
    }

    #[test]
    fn an_answer_without_a_body_is_followed_by_a_rest() {
        assert_eq!(get(204, &[]), Reuse::AfterRest);
        assert_eq!(get(204, &[("content-length", "0")]), Reuse::AfterRest);
        assert_eq!(get(304, &[("content-length", "9")]), Reuse::AfterRest);
        for lines in [&[("content-length", "9")], &[("transfer-encoding", "chunked")]] {
            let found = after(&Method::HEAD, Version::HTTP_11, 200, lines);
            assert_eq!(found, Reuse::AfterRest, "{lines:?}");
        }
    }

    #[test]
    fn an_answer_whose_end_is_doubtful() {
        for lines in [
            &[][..],
            &[("content-length", "3"), ("transfer-encoding", "chunked")],
            &[("content-length", "3, 3")],
            &[("content-length", "3"), ("content-length", "4")],
            &[("transfer-encoding", "gzip")],
        ] {
            assert_eq!(get(200, lines), Reuse::Never, "{lines:?}");
        }
        assert_eq!(get(204, &[("content-length", "9")]), Reuse::Never);
        assert_eq!(get(204, &[("transfer-encoding", "chunked")]), Reuse::Never);
        assert_eq!(get(101, &[]), Reuse::Never);
        assert_eq!(get(700, &[("content-length", "3")]), Reuse::Never);
    }

    #[test]
    fn a_connection_that_one_side_closes_is_not_used_again() {
        let (length, one) = (("content-length", "3"), Version::HTTP_10);
        for (version, lines, reuse) in [
            (Version::HTTP_11, &[length, ("connection", "close")][..], Reuse::Never),
            (Version::HTTP_11, &[length, ("connection", "x, Close")], Reuse::Never),
            (Version::HTTP_11, &[length, ("connection", "keep-alive")], Reuse::AtOnce),
            (one, &[length], Reuse::Never),
            (one, &[length, ("connection", "Keep-Alive")], Reuse::AtOnce),
            (one, &[length, ("connection", "keep-alive, close")], Reuse::Never),
        ] {
            assert_eq!(after(&Method::GET, version, 200, lines), reuse, "{version:?} {lines:?}");
        }
    }

    #[test]
    fn a_408_on_an_idle_connection_is_not_stray() {
        assert!(!is_stray(b"HTTP/1.1 408 Request Timeout\r\n"));
        assert!(!is_stray(b"HTTP/1.0 408"));
        assert!(!is_stray(b""));
        for bytes in [&b"HTTP/1.1 200 OK\r\n"[..], b"{\"late\":1}", b"H", b"0\r\n\r\n"] {
            assert!(is_stray(bytes), "{bytes:?}");
        }
    }
}
