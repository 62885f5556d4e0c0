//! How the body of a request to a backend is delimited: by the body that the gateway sends.
//!
//! The length that the client stated may be wrong for that body, since the gateway may have read it
//! into memory, limited it, or may send it in chunks.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method};

/// Writes the framing of a body with this length; a body of unknown length is sent in chunks.
///
/// For an empty body, `Content-Length` is written only where the method expects a body (RFC 9110,
/// section 8.6), or where the client stated a length.
pub fn frame_request(method: &Method, headers: &mut HeaderMap, length: Option<u64>) {
    headers.remove(TRANSFER_ENCODING);
    let was_stated = headers.remove(CONTENT_LENGTH).is_some();
    let expects_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    match length {
        None => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Some(0) if !was_stated && !expects_body => {}
        Some(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(
        method: &Method,
        lines: &[(&'static str, &'static str)],
        length: Option<u64>,
    ) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        frame_request(method, &mut headers, length);
        let line = |(name, value): (_, &HeaderValue)| {
            format!("{name}: {}", value.to_str().expect("ASCII"))
        };
        headers.iter().map(line).collect()
    }

    #[test]
    fn a_known_length_is_stated_and_an_unknown_one_is_chunked() {
        let client = [("content-length", "7"), ("transfer-encoding", "chunked")];
        for method in [Method::GET, Method::POST, Method::DELETE] {
            assert_eq!(framed(&method, &client, Some(3)), ["content-length: 3"]);
            assert_eq!(framed(&method, &client, None), ["transfer-encoding: chunked"]);
            assert_eq!(framed(&method, &[], Some(3)), ["content-length: 3"]);
        }
    }

    #[test]
    fn an_empty_body_has_a_length_where_one_is_expected() {
        assert_eq!(framed(&Method::POST, &[], Some(0)), ["content-length: 0"]);
        assert!(framed(&Method::GET, &[], Some(0)).is_empty());
        assert!(framed(&Method::DELETE, &[], Some(0)).is_empty());
        let stated = [("content-length", "0")];
        assert_eq!(framed(&Method::GET, &stated, Some(0)), ["content-length: 0"]);
    }
}
