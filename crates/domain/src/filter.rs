//! The request filter, which runs before everything else: it refuses heads that HTTP parsers could
//! read differently, and heads beyond the configured bounds. It has no I/O and no state.
//!
//! The host's parser reads the bytes first; these rules apply to the heads that it accepts.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Version};

use crate::config::Filter;
use crate::framing::RefusedHead;
use crate::headers::misnamed_by_connection;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// More header lines than allowed.
    #[error("there are too many header lines")]
    TooManyHeaders,
    /// More bytes of header than allowed.
    #[error("the header lines are too large")]
    HeadersTooLarge,
    /// A longer target than allowed.
    #[error("the target is too long")]
    TargetTooLong,
    /// Not a path: absolute form, authority form, `*`.
    #[error("the target has to be a path")]
    TargetForm,
    /// Not HTTP/1.1, as far as the host's parser is concerned.
    #[error("the head is not well-formed HTTP/1.1 (RFC 9112)")]
    Syntax,
    /// A character that is not allowed in a target.
    #[error("the target has a character that is not allowed there")]
    TargetCharacter,
    /// A `#` in the target: clients must not send a fragment, and parsers read one differently.
    #[error("the target has a #; a client does not send a fragment, and a literal # is %23")]
    Fragment,
    /// `Connection` names an end-to-end header.
    #[error("Connection names {0}, which is meant for the backend and not for this connection")]
    Connection(&'static str),
    /// CONNECT or TRACE.
    #[error("the methods CONNECT and TRACE are not supported")]
    Method,
    /// No `Host`, or several.
    #[error("exactly one Host header is needed")]
    Host,
    /// Other than one `chunked`, or together with `Content-Length`, or on HTTP/1.0.
    #[error("Transfer-Encoding has to be `chunked`, without Content-Length, on HTTP/1.1")]
    TransferEncoding,
    /// Several header lines state the body's length.
    #[error("one Content-Length or one Transfer-Encoding is allowed, not both, and not twice")]
    Ambiguous,
    /// Not one decimal number.
    #[error("Content-Length has to be one decimal number")]
    ContentLength,
    /// An incomplete WebSocket handshake, on a route that allows WebSockets.
    #[error(
        "the WebSocket handshake is incomplete (RFC 6455, section 4.2.1): it needs GET, no body, \
         Connection: Upgrade, Upgrade: websocket, Sec-WebSocket-Version: 13 and Sec-WebSocket-Key"
    )]
    Handshake,
}

/// Checks a request's head.
///
/// # Errors
/// [`Malformed`] names the first rule that is violated.
pub fn check_head(head: &Parts, filter: &Filter) -> Result<(), Malformed> {
    check_bounds(head, filter)?;
    check_target(head)?;
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return Err(Malformed::Host);
    }
    check_framing(&head.headers, head.version)?;
    // The backend has to see every header that the gateway decides by.
    if let Some(name) = misnamed_by_connection(&head.headers) {
        return Err(Malformed::Connection(name));
    }
    match head.extensions.get::<RefusedHead>() {
        Some(RefusedHead::Ambiguous) => Err(Malformed::Ambiguous),
        Some(RefusedHead::Fragment) => Err(Malformed::Fragment),
        None => Ok(()),
    }
}

/// Whether any `User-Agent` line contains one of these texts, which are in lower case.
#[must_use]
pub fn is_refused_agent(headers: &HeaderMap, refused: &[String]) -> bool {
    if refused.is_empty() {
        return false;
    }
    headers.get_all(USER_AGENT).iter().any(|agent| {
        let agent = String::from_utf8_lossy(agent.as_bytes()).to_lowercase();
        refused.iter().any(|text| agent.contains(text))
    })
}

/// Whether a request's body, if it has one, has one of these content types, such as
/// `application/json` or `text/*`, in lower case. Parameters such as `charset` are ignored.
#[must_use]
pub fn is_accepted_type(headers: &HeaderMap, accepted: &[String]) -> bool {
    let bodiless = !headers.contains_key(TRANSFER_ENCODING)
        && declared_length(headers).unwrap_or_default() == 0;
    if accepted.is_empty() || bodiless {
        return true;
    }
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return false };
    let Ok(kind) = kind.to_str() else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_lowercase();
    accepted.iter().any(|accepted| match accepted.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => kind == *accepted,
    })
}

/// Whether a text is a content type, or a range such as `text/*`.
#[must_use]
pub fn is_media_range(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let Some((kind, sub)) = text.split_once('/') else { return false };
    token(kind) && (sub == "*" || token(sub))
}

/// The body's length as declared; `None` when it is chunked or there is none.
#[must_use]
pub fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn check_bounds(head: &Parts, filter: &Filter) -> Result<(), Malformed> {
    if head.headers.len() > filter.headers_max {
        return Err(Malformed::TooManyHeaders);
    }
    // Four bytes more per line: the colon, a space and the line's end.
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + 4
    };
    if head.headers.iter().map(line).sum::<usize>() > filter.header_bytes_max {
        return Err(Malformed::HeadersTooLarge);
    }
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > filter.target_bytes_max { Err(Malformed::TargetTooLong) } else { Ok(()) }
}

fn check_target(head: &Parts) -> Result<(), Malformed> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Malformed::Method);
    }
    if head.uri.scheme().is_some() || head.uri.authority().is_some() || head.uri.path() == "*" {
        return Err(Malformed::TargetForm);
    }
    let query = head.uri.query().unwrap_or_default();
    if query.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err(Malformed::TargetCharacter);
    }
    Ok(())
}

fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), Malformed> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let plain = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        let alone = codings.next().is_none() && !headers.contains_key(CONTENT_LENGTH);
        if !plain || !alone || version < Version::HTTP_11 {
            return Err(Malformed::TransferEncoding);
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = length.as_bytes();
        let number =
            !digits.is_empty() && digits.len() < 20 && digits.iter().all(u8::is_ascii_digit);
        if !number || lengths.next().is_some() {
            return Err(Malformed::ContentLength);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn verdict(
        change: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> Result<(), Malformed> {
        let builder = Request::builder().uri("/api/v1/health").header("host", "api.example");
        let (head, ()) = change(builder).body(()).expect("a request").into_parts();
        check_head(&head, &Filter::default())
    }

    #[test]
    fn ordinary_requests_pass() {
        assert_eq!(verdict(|b| b), Ok(()));
        assert_eq!(verdict(|b| b.method("POST").header("content-length", "5")), Ok(()));
        assert_eq!(verdict(|b| b.method("POST").header("transfer-encoding", "Chunked")), Ok(()));
    }

    #[test]
    fn framing_that_parsers_read_differently_is_refused() {
        let framing = |pairs: &[(&str, &str)]| {
            verdict(|b| pairs.iter().fold(b, |b, (name, value)| b.header(*name, *value)))
        };
        let (te, cl) = ("transfer-encoding", "content-length");
        for pairs in [
            &[(te, "chunked"), (cl, "4")][..],
            &[(te, "identity, chunked")],
            &[(te, "chunked, identity")],
            &[(te, "xchunked")],
            &[(te, "chunked"), (te, "chunked")],
        ] {
            assert_eq!(framing(pairs), Err(Malformed::TransferEncoding), "{pairs:?}");
        }
        for pairs in [&[(cl, "4"), (cl, "4")][..], &[(cl, "+4")], &[(cl, "4, 4")], &[(cl, "")]] {
            assert_eq!(framing(pairs), Err(Malformed::ContentLength), "{pairs:?}");
        }
        let old = verdict(|b| b.version(Version::HTTP_10).header(te, "chunked"));
        assert_eq!(old, Err(Malformed::TransferEncoding));
    }

    #[test]
    fn hosts_targets_and_methods() {
        assert_eq!(verdict(|b| b.header("host", "other")), Err(Malformed::Host));
        assert_eq!(verdict(|b| b.uri("http://other/api")), Err(Malformed::TargetForm));
        assert_eq!(verdict(|b| b.method("OPTIONS").uri("*")), Err(Malformed::TargetForm));
        assert_eq!(verdict(|b| b.method("TRACE")), Err(Malformed::Method));
        assert_eq!(verdict(|b| b.method("CONNECT").uri("a:80")), Err(Malformed::Method));
        for other in ["h2c", "TLS/1.2", "websocket"] {
            assert_eq!(verdict(|b| b.header("upgrade", other)), Ok(()), "{other}: allowed here");
        }
    }

    #[test]
    fn connection_may_not_name_a_header_that_the_gateway_decides_by() {
        for named in
            ["content-type", "close, Authorization", "keep-alive,\tHOST", "Idempotency-Key"]
        {
            let refused = verdict(|b| b.header("connection", named));
            assert!(matches!(refused, Err(Malformed::Connection(_))), "{named}");
        }
        let second = verdict(|b| b.header("connection", "close").header("connection", "cookie"));
        assert_eq!(second, Err(Malformed::Connection("cookie")));
        for harmless in ["keep-alive", "close, TE", "x-organization-id", "", "transfer-encoding"] {
            assert_eq!(verdict(|b| b.header("connection", harmless)), Ok(()), "{harmless}");
        }
    }

    #[test]
    fn content_types_by_route() {
        let accepts = |kind: Option<&'static str>, accepted: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LENGTH, http::HeaderValue::from_static("4"));
            if let Some(kind) = kind {
                headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
            }
            let accepted: Vec<String> = accepted.iter().map(|&kind| kind.to_owned()).collect();
            is_accepted_type(&headers, &accepted)
        };
        assert!(accepts(Some("Application/JSON; charset=utf-8"), &["application/json"]));
        assert!(accepts(Some("text/csv"), &["application/json", "text/*"]));
        assert!(accepts(None, &[]));
        for wrong in [None, Some("text/html"), Some("application/jsonx"), Some("")] {
            assert!(!accepts(wrong, &["application/json"]), "{wrong:?}");
        }
        assert!(is_accepted_type(&HeaderMap::new(), &["application/json".to_owned()]));
        assert!(is_media_range("text/*") && is_media_range("application/problem+json"));
        assert!(!is_media_range("json") && !is_media_range("*/json") && !is_media_range("a/b c"));
    }

    #[test]
    fn user_agents_are_refused_by_a_text_that_they_contain() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, http::HeaderValue::from_static("SQLMap/1.7"));
        assert!(is_refused_agent(&headers, &["sqlmap".to_owned()]));
        assert!(!is_refused_agent(&headers, &["nikto".to_owned()]));
        assert!(!is_refused_agent(&HeaderMap::new(), &["nikto".to_owned()]));
        headers.append(USER_AGENT, http::HeaderValue::from_static("Nikto/2"));
        assert!(is_refused_agent(&headers, &["nikto".to_owned()]), "a second line counts, too");
    }

    #[test]
    fn bounds() {
        let many = verdict(|b| (0..101).fold(b, |b, n| b.header(format!("x-{n}"), "1")));
        assert_eq!(many, Err(Malformed::TooManyHeaders));
        let large = verdict(|b| b.header("x", "y".repeat(64 << 10)));
        assert_eq!(large, Err(Malformed::HeadersTooLarge));
        let long = verdict(|b| b.uri(format!("/{}", "a".repeat(16 << 10))));
        assert_eq!(long, Err(Malformed::TargetTooLong));
    }
}
