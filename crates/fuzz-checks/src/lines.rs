//! Makes headers from lines of text, as a client could have sent them.

use http::{HeaderMap, HeaderName, HeaderValue};

/// More lines than the filter accepts.
const LINES_MAX: usize = 128;

/// Parses lines of `name: value`. Lines that are invalid in HTTP are left out, since the HTTP
/// server refuses them before the gateway's code sees them.
pub(crate) fn headers(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(LINES_MAX) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// One header of this name, if the bytes can be its value.
pub(crate) fn header(name: &'static str, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
}
