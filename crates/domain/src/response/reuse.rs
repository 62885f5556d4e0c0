//! Whether a backend's connection may carry another request after a response.
//!
//! HTTP/1.1 matches responses to requests by their order alone. A byte that the backend sends after
//! the end of a response therefore becomes the start of the next response on that connection, which
//! may be for another customer.
//!
//! So a connection is reused only if the end of the response was certain, no byte follows it, and
//! neither side announced that it closes. Some programs write a body after a head that allows none
//! (HEAD, 204, 304), in a second write. After such a response the connection rests: it carries no
//! request for [`REST`]; if bytes arrive meanwhile, it is closed.
//!
//! One case remains that no HTTP/1.1 client can exclude: a byte that arrives later than [`REST`]
//! after the end of the response, and after the next request was sent.

use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, Method, StatusCode, Version};

use super::framing::{BodyFraming, Clarity, ResponseFraming};

/// How long a connection rests after a response that unexpected bytes may follow. A program's
/// second write follows the first within microseconds; this covers the network and a busy machine,
/// too.
pub const REST: Duration = Duration::from_millis(10);

/// For this long after a backend sent bytes that belong to no response, all its connections rest
/// after each response.
pub const UNTRUSTED_FOR: Duration = Duration::from_secs(600);

/// The number of stray bytes that [`is_stray`] checks.
const STATUS_LINE_START: usize = "HTTP/1.1 408".len();

/// When a connection may carry another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reuse {
    /// As soon as the response has ended.
    AtOnce,
    /// After [`REST`], if no byte arrived meanwhile.
    AfterRest,
    /// Never: the connection is closed after the response.
    Never,
}

/// What the head of a response allows. The host has to check in addition that the response ended
/// exactly, that the request was sent completely and that no bytes follow.
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

/// Whether bytes that arrived without a request show that the backend must not be trusted. A 408
/// does not: servers may send one before they close an idle connection (RFC 9110, section 15.5.9).
#[must_use]
pub fn is_stray(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(STATUS_LINE_START)];
    !start.is_empty() && start != b"HTTP/1.1 408" && start != b"HTTP/1.0 408"
}

/// Whether the connection persists (RFC 9112, section 9.3): with HTTP/1.1 unless `Connection` has
/// `close`, with HTTP/1.0 only if it has `keep-alive`.
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
    fn a_response_without_a_body_is_followed_by_a_rest() {
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
