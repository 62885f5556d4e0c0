//! Ids that connect the traces of a request: `X-Request-ID` and W3C `traceparent`.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::text::Text;

const REQUEST_ID_CHARS_MAX: usize = 128;
/// Version, 16 bytes, 8 bytes and flags, with dashes between.
const PARENT_CHARS: usize = 55;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The client's request id, if there is exactly one, of 1 to 128 characters of `[A-Za-z0-9._-]`.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(REQUEST_ID).iter();
    let value = values.next()?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
    let fits = (1..=REQUEST_ID_CHARS_MAX).contains(&value.len());
    (fits && value.as_bytes().iter().all(plain) && values.next().is_none()).then_some(value)
}

/// Keeps a valid `traceparent`. If it is missing or malformed, writes a new one from 24
/// unpredictable bytes and removes `tracestate`, which is then invalid (W3C Trace Context, section
/// 3.2).
pub fn trace_context(headers: &mut HeaderMap, entropy: impl FnOnce() -> [u8; 24]) {
    let mut values = headers.get_all(PARENT).iter();
    let valid = values.next().is_some_and(|value| is_traceparent(value.as_bytes()));
    if valid && values.next().is_none() {
        return;
    }
    headers.remove(STATE);
    let entropy = entropy();
    let (trace, parent) = entropy.split_at(16);
    let mut text = Text::<PARENT_CHARS>::new();
    text.push_str("00-");
    text.push_hex(trace);
    text.push_str("-");
    text.push_hex(parent);
    text.push_str("-00");
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        headers.insert(PARENT, value);
    }
}

fn is_traceparent(text: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    let Some(([version @ .., b'-'], rest)) = text.split_at_checked(3) else { return false };
    let Some(([trace @ .., b'-'], rest)) = rest.split_at_checked(33) else { return false };
    let Some(([parent @ .., b'-'], rest)) = rest.split_at_checked(17) else { return false };
    // Later versions may add fields; version 00 has none.
    let flags = match rest.split_at_checked(2) {
        Some((flags, [])) => flags,
        Some((flags, [b'-', ..])) if version != b"00" => flags,
        Some(_) | None => return false,
    };
    hex(version)
        && version != b"ff"
        && hex(trace)
        && !zero(trace)
        && hex(parent)
        && !zero(parent)
        && hex(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_str(value).expect("a header"));
        headers.insert("tracestate", HeaderValue::from_static("a=b"));
        trace_context(&mut headers, || [0xab; 24]);
        headers
    }

    #[test]
    fn a_valid_context_is_continued() {
        for valid in [VALID, "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what"] {
            let found = traced(valid);
            assert_eq!(found["traceparent"], valid);
            assert!(found.contains_key("tracestate"));
        }
    }

    #[test]
    fn a_malformed_one_is_restarted() {
        for bad in [
            "x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            let found = traced(bad);
            assert_eq!(
                found["traceparent"], "00-abababababababababababababababab-abababababababab-00",
                "{bad}"
            );
            assert!(!found.contains_key("tracestate"));
        }
    }

    #[test]
    fn harmless_request_ids_are_used() {
        let mut headers = HeaderMap::new();
        assert_eq!(request_id(&headers), None);
        headers.insert("x-request-id", HeaderValue::from_static("A-1_b.c"));
        assert_eq!(request_id(&headers).map(HeaderValue::as_bytes), Some(&b"A-1_b.c"[..]));
        headers.insert("x-request-id", HeaderValue::from_static("a b"));
        assert_eq!(request_id(&headers), None);
    }
}
