//! How the body of a backend's response is delimited (RFC 9112, section 6.3).

use std::fmt;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// The most characters of a header's value that an error shows.
const SHOWN_CHARS_MAX: usize = 60;

/// Where the body of a response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body: it is a response to HEAD, or its status is 101, 204 or 304.
    None,
    /// After this many bytes.
    Length(u64),
    /// With the last chunk and its trailer.
    Chunked,
    /// When the connection is closed.
    UntilClose,
}

/// What the head of a response states about its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFraming {
    /// Where the body ends.
    pub body: BodyFraming,
    /// The value of `Content-Length`, if there is one; for HEAD the length of the body for GET.
    pub stated_length: Option<u64>,
    /// Whether the head states the body's end clearly.
    pub clarity: Clarity,
    is_head: bool,
}

/// Whether every reader of a head finds the same end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clarity {
    /// One framing, stated once.
    Clear,
    /// Two framings, one framing stated twice, or a body announced where there can be none.
    Doubtful,
}

/// A response that cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedResponse {
    /// The status is not final.
    #[error("the backend's status is {0}; a final status is 200 to 599")]
    Status(u16),
    /// `Content-Length` is not a number, or several different ones.
    #[error("the backend's Content-Length is {0}; it has to be one decimal number")]
    ContentLength(Shown),
    /// `Transfer-Encoding` is not `chunked`. The gateway asks for no other coding.
    #[error("the backend's Transfer-Encoding is {0}; only `chunked`, or none, is supported")]
    TransferEncoding(Shown),
}

/// The beginning of a header's values, as an error shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl ResponseFraming {
    /// Reads the head of a response to a request with this method.
    ///
    /// With `Transfer-Encoding`, a `Content-Length` is ignored. A length that is repeated, in one
    /// line or several, is one length; different lengths are an error.
    ///
    /// # Errors
    /// [`MalformedResponse`]: the response must not be passed on, nor be charged.
    pub fn of(
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Self, MalformedResponse> {
        if !matches!(status.as_u16(), 101 | 200..=599) {
            return Err(MalformedResponse::Status(status.as_u16()));
        }
        let is_chunked = is_chunked(headers)?;
        let (stated_length, times) = content_length(headers)?;
        let is_head = method == Method::HEAD;
        let is_bodiless = matches!(status.as_u16(), 101 | 204 | 304);
        let body = match stated_length {
            _ if is_head || is_bodiless => BodyFraming::None,
            _ if is_chunked => BodyFraming::Chunked,
            Some(length) => BodyFraming::Length(length),
            None => BodyFraming::UntilClose,
        };
        // A response to HEAD and a 304 may have a length: that of the response to GET.
        let announces_nothing = matches!(status.as_u16(), 101 | 204)
            && (is_chunked || stated_length.is_some_and(|length| length > 0));
        let is_doubtful = times > 1 || (is_chunked && stated_length.is_some()) || announces_nothing;
        let clarity = if is_doubtful { Clarity::Doubtful } else { Clarity::Clear };
        Ok(Self { body, stated_length, clarity, is_head })
    }

    /// Removes the backend's framing. Only a response to HEAD keeps its length, which delimits
    /// nothing there. The host states the framing of the body that it sends.
    pub fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_LENGTH);
        if let (true, Some(length), Clarity::Clear) =
            (self.is_head, self.stated_length, self.clarity)
        {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

/// Whether a header delimits a message or controls its connection. Such a header is never stored
/// with a response, and no configuration may set it.
#[must_use]
pub fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-length"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "upgrade"
    )
}

fn is_chunked(headers: &HeaderMap) -> Result<bool, MalformedResponse> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(false) };
    let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if is_chunked && codings.next().is_none() {
        return Ok(true);
    }
    Err(MalformedResponse::TransferEncoding(Shown::of(headers, &TRANSFER_ENCODING)))
}

/// The length, and how many times it is stated.
fn content_length(headers: &HeaderMap) -> Result<(Option<u64>, usize), MalformedResponse> {
    let (mut found, mut times) = (None, 0);
    let lines = headers.get_all(CONTENT_LENGTH).iter();
    for value in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
        let length = decimal(value.trim_ascii());
        if length.is_none() || (times > 0 && length != found) {
            return Err(MalformedResponse::ContentLength(Shown::of(headers, &CONTENT_LENGTH)));
        }
        (found, times) = (length, times + 1);
    }
    Ok((found, times))
}

/// A number that consists of digits only.
fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Shown {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Self {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let all = values.collect::<Vec<_>>().join(", ");
        Self(all.chars().take(SHOWN_CHARS_MAX).collect())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        method: &Method,
        status: u16,
        lines: &[(&'static str, &'static str)],
    ) -> Result<ResponseFraming, MalformedResponse> {
        let status = StatusCode::from_u16(status).expect("a status");
        ResponseFraming::of(method, status, &headers(lines))
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn get(lines: &[(&'static str, &'static str)]) -> (BodyFraming, Clarity) {
        let framing = of(&Method::GET, 200, lines).expect("well-formed");
        (framing.body, framing.clarity)
    }

    const LENGTH: &str = "content-length";
    const CODING: &str = "transfer-encoding";

    #[test]
    fn one_framing() {
        assert_eq!(get(&[(LENGTH, "3")]), (BodyFraming::Length(3), Clarity::Clear));
        assert_eq!(get(&[(CODING, " Chunked ")]), (BodyFraming::Chunked, Clarity::Clear));
        assert_eq!(get(&[]), (BodyFraming::UntilClose, Clarity::Clear));
    }

    #[test]
    fn chunked_wins_over_a_length_and_a_repeated_length_is_one() {
        let both = [(LENGTH, "3"), (CODING, "chunked")];
        assert_eq!(get(&both), (BodyFraming::Chunked, Clarity::Doubtful));
        assert_eq!(get(&[(LENGTH, "2, 2")]), (BodyFraming::Length(2), Clarity::Doubtful));
        let lines = [(LENGTH, "2"), (LENGTH, "2")];
        assert_eq!(get(&lines), (BodyFraming::Length(2), Clarity::Doubtful));
    }

    #[test]
    fn what_has_no_single_end_is_refused() {
        for lines in [
            &[(LENGTH, "2"), (LENGTH, "3")][..],
            &[(LENGTH, "2, 3")],
            &[(LENGTH, "2,")],
            &[(LENGTH, "")],
            &[(LENGTH, "+2")],
            &[(LENGTH, "-1")],
            &[(LENGTH, "2 2")],
            &[(LENGTH, "0x2")],
            &[(LENGTH, "99999999999999999999")],
            &[(LENGTH, "x"), (CODING, "chunked")],
        ] {
            let found = of(&Method::GET, 200, lines);
            assert!(matches!(found, Err(MalformedResponse::ContentLength(_))), "{lines:?}");
        }
        for lines in [
            &[(CODING, "gzip, chunked")][..],
            &[(CODING, "identity")],
            &[(CODING, "chunked, chunked")],
            &[(CODING, "chunked"), (CODING, "chunked")],
            &[(CODING, "")],
        ] {
            let found = of(&Method::GET, 200, lines);
            assert!(matches!(found, Err(MalformedResponse::TransferEncoding(_))), "{lines:?}");
        }
    }

    #[test]
    fn an_error_shows_the_values_up_to_a_bound() {
        let error =
            of(&Method::GET, 200, &[(LENGTH, "2"), (LENGTH, "3")]).expect_err("two lengths");
        let right = "it has to be one decimal number";
        assert_eq!(error.to_string(), format!("the backend's Content-Length is \"2, 3\"; {right}"));
        let long = "9".repeat(1_000);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_str(&long).expect("digits"));
        let error = ResponseFraming::of(&Method::GET, StatusCode::OK, &headers);
        assert!(error.expect_err("beyond 64 bits").to_string().len() < 150);
    }

    #[test]
    fn a_final_status_is_200_to_599() {
        for status in [100, 103, 199, 600, 700, 999] {
            let found = of(&Method::GET, status, &[]);
            assert_eq!(found, Err(MalformedResponse::Status(status)));
        }
        for status in [101, 200, 299, 304, 404, 599] {
            assert!(of(&Method::GET, status, &[]).is_ok(), "{status}");
        }
    }

    #[test]
    fn answers_without_a_body() {
        let lines = [(LENGTH, "60")];
        for (method, status, clarity) in [
            (&Method::HEAD, 200, Clarity::Clear),
            (&Method::GET, 304, Clarity::Clear),
            (&Method::GET, 204, Clarity::Doubtful),
        ] {
            let framing = of(method, status, &lines).expect("well-formed");
            assert_eq!((framing.body, framing.clarity), (BodyFraming::None, clarity), "{status}");
        }
        let empty = of(&Method::DELETE, 204, &[(LENGTH, "0")]).expect("well-formed");
        assert_eq!((empty.body, empty.clarity), (BodyFraming::None, Clarity::Clear));
        let chunked = of(&Method::DELETE, 204, &[(CODING, "chunked")]).expect("well-formed");
        assert_eq!(chunked.clarity, Clarity::Doubtful);
    }

    #[test]
    fn only_an_answer_to_head_keeps_its_length() {
        let lines = [(LENGTH, "60"), ("content-type", "text/plain")];
        for (method, status, kept) in [
            (&Method::HEAD, 200, Some("60")),
            (&Method::GET, 200, None),
            (&Method::GET, 204, None),
            (&Method::GET, 304, None),
        ] {
            let mut headers = headers(&lines);
            of(method, status, &lines).expect("well-formed").strip(&mut headers);
            let length = headers.get(LENGTH).map(|value| value.to_str().expect("digits"));
            assert_eq!(length, kept, "{method} {status}");
            assert!(headers.contains_key("content-type"));
        }
        let both = [(LENGTH, "3"), (CODING, "chunked")];
        for method in [Method::HEAD, Method::GET] {
            let mut headers = headers(&both);
            of(&method, 200, &both).expect("well-formed").strip(&mut headers);
            assert!(headers.is_empty(), "{method}: {headers:?}");
        }
    }
}
