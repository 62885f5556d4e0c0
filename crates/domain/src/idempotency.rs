//! Idempotency-Key: one key is charged at most once (I3).
//!
//! A key is scoped to organization and route. The store keeps a digest of the three, so that the
//! customer's text is never in the database, and a fingerprint of everything in the request that
//! the response may depend on, so that the reuse of a key for another request is detected.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::headers::HeaderNames;
use crate::id::{OrganizationId, UsageId};

/// The longest key that is accepted, in characters.
pub const KEY_CHARS_MAX: usize = 255;
/// The largest body that a request with a key may have, in bytes.
pub const PAYLOAD_BYTES_MAX: u64 = 1 << 20;
/// The largest response body that is stored, in bytes.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;
/// A response is stored only if its body arrives within this time after its head.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a key is kept, in seconds.
pub const KEPT_SECS: u64 = 24 * 3_600;

/// SHA-256 over organization, route and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey(pub [u8; 32]);

/// SHA-256 over method, target, headers and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

/// The claim that a request with a key has while it is in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The scoped key.
    pub key: IdempotencyKey,
    /// The fingerprint of the request.
    pub fingerprint: Fingerprint,
}

/// The stored record of a settled request with a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The fingerprint of the request.
    pub fingerprint: Fingerprint,
    /// The request's receipt.
    pub usage: UsageId,
    /// The response; absent when it was too large, took too long or was a stream. A repetition is
    /// then refused, and the refusal names the receipt.
    pub answer: Option<KeptAnswer>,
}

/// The result of claiming a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The request has claimed the key.
    Own,
    /// A request with this key was settled before.
    Kept(Kept),
    /// Another request in progress has claimed the key.
    InFlight(UsageId, Fingerprint),
}

/// The result where no other request in progress has claimed the key.
impl From<Option<Kept>> for Claimed {
    fn from(kept: Option<Kept>) -> Self {
        kept.map_or(Self::Own, Self::Kept)
    }
}

/// A stored response, to be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The backend's headers, already cleaned.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, at most [`ANSWER_BYTES_MAX`].
    #[serde(with = "hex::serde")]
    pub body: Vec<u8>,
}

/// A malformed `Idempotency-Key` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Idempotency-Key has to be a quoted string or a token of 1 to 255 visible ASCII characters"
)]
pub struct MalformedIdempotencyKey;

/// Reads the header: a quoted structured string (RFC 9651, section 3.3.3) or a bare token.
///
/// # Errors
/// [`MalformedIdempotencyKey`] for an empty, overlong, repeated or otherwise malformed one.
pub fn parse(headers: &HeaderMap) -> Result<Option<String>, MalformedIdempotencyKey> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(MalformedIdempotencyKey);
    }
    let text = value.to_str().map_err(|_| MalformedIdempotencyKey)?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => unquote(rest)?,
        None if text.bytes().all(|b| b.is_ascii_graphic() && !b"\",;\\".contains(&b)) => {
            text.to_owned()
        }
        None => return Err(MalformedIdempotencyKey),
    };
    if key.is_empty() || key.len() > KEY_CHARS_MAX {
        return Err(MalformedIdempotencyKey);
    }
    Ok(Some(key))
}

fn unquote(rest: &str) -> Result<String, MalformedIdempotencyKey> {
    let mut key = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next().ok_or(MalformedIdempotencyKey)? {
            '"' => break,
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                Some(_) | None => return Err(MalformedIdempotencyKey),
            },
            plain @ ' '..='~' => key.push(plain),
            _ => return Err(MalformedIdempotencyKey),
        }
    }
    if chars.next().is_some() { Err(MalformedIdempotencyKey) } else { Ok(key) }
}

/// Scopes a key to its organization and route.
#[must_use]
pub fn scoped(organization: OrganizationId, route: &str, key: &str) -> IdempotencyKey {
    IdempotencyKey(digest(&[organization.as_bytes(), route.as_bytes(), key.as_bytes()]))
}

/// The fingerprint of a request. `target` is path and query, `headers` are the client's headers
/// that reach the backend; a repetition may differ in the `ignored` ones.
#[must_use]
pub fn fingerprint(
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    ignored: &HeaderNames,
    body: &[u8],
) -> Fingerprint {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| !is_of_the_key_or_framing(name) && !ignored.contains(name));
    // The order of lines with different names does not matter; that of lines with one name does.
    names.sort_unstable();
    let mut parts = vec![method.as_str().as_bytes(), target.as_bytes()];
    for name in names {
        for value in headers.get_all(name) {
            parts.extend([name.as_bytes(), value.as_bytes()]);
        }
    }
    parts.push(body);
    Fingerprint(digest(&parts))
}

/// A repetition may quote the key or not, and send its body in chunks or with a length.
fn is_of_the_key_or_framing(name: &str) -> bool {
    matches!(name, "idempotency-key" | "content-length" | "transfer-encoding")
}

/// Hashes each part after its length, so that two different lists of parts never hash the same
/// bytes.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parsed(value: &str) -> Result<Option<String>, MalformedIdempotencyKey> {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_str(value).expect("a header"));
        parse(&headers)
    }

    #[test]
    fn quoted_and_bare_keys_are_the_same() {
        assert_eq!(parsed("\"8e03978e-40d5\""), Ok(Some("8e03978e-40d5".into())));
        assert_eq!(parsed("8e03978e-40d5"), Ok(Some("8e03978e-40d5".into())));
        assert_eq!(parsed(r#""a\"b\\c d""#), Ok(Some(r#"a"b\c d"#.into())));
        assert_eq!(parse(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn malformed_keys_are_refused() {
        for bad in ["", "\"\"", "\"open", "\"a\" b", "a b", "a,b", r#""\x""#, &"k".repeat(256)] {
            assert_eq!(parsed(bad), Err(MalformedIdempotencyKey), "{bad}");
        }
        let mut twice = HeaderMap::new();
        twice.append("idempotency-key", HeaderValue::from_static("a"));
        twice.append("idempotency-key", HeaderValue::from_static("a"));
        assert_eq!(parse(&twice), Err(MalformedIdempotencyKey));
    }

    fn request(target: &str, headers: &[(&'static str, &'static str)], body: &str) -> Fingerprint {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let ignored = HeaderNames::new(crate::config::Idempotency::default().ignored_headers);
        fingerprint(&Method::POST, target, &map, &ignored, body.as_bytes())
    }

    #[test]
    fn everything_that_the_response_may_depend_on_counts() {
        let one = [("content-type", "text/plain"), ("x-question", "a"), ("x-question", "b")];
        let first = request("/a?b", &one, "c");
        assert_eq!(first, request("/a?b", &one, "c"));
        let moved = [("x-question", "a"), ("content-type", "text/plain"), ("x-question", "b")];
        assert_eq!(first, request("/a?b", &moved, "c"), "lines of other names in another order");
        let swapped = [("content-type", "text/plain"), ("x-question", "b"), ("x-question", "a")];
        let joined = [("content-type", "text/plain"), ("x-question", "a, b")];
        let added = [one[0], one[1], one[2], ("accept", "*/*")];
        for other in [&swapped[..], &joined, &one[..2], &added, &[]] {
            assert_ne!(first, request("/a?b", other, "c"), "{other:?}");
        }
        for (target, body) in [("/a?c", "c"), ("/a", "c"), ("/a?b", "d"), ("/a?b", "")] {
            assert_ne!(first, request(target, &one, body), "{target} {body}");
        }
        assert_ne!(request("/a?", &[], ""), request("/a", &[], ""));
        let (none, map) = (HeaderNames::default(), HeaderMap::new());
        let by = |method: &Method| fingerprint(method, "/a", &map, &none, b"");
        assert_ne!(by(&Method::GET), by(&Method::HEAD));
    }

    #[test]
    fn the_client_and_the_path_through_proxies_do_not_count() {
        let first = request("/a", &[("accept", "*/*")], "");
        for other in [
            ("user-agent", "x/2"),
            ("accept-encoding", "br"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", "a=b"),
            ("x-request-id", "second"),
            ("x-forwarded-port", "443"),
            ("x_forwarded_port", "443"),
            ("forwarded", "for=192.0.2.1"),
            ("cf-ray", "1"),
            ("content-length", "0"),
            ("idempotency-key", "\"a\""),
        ] {
            assert_eq!(first, request("/a", &[("accept", "*/*"), other], ""), "{other:?}");
        }
    }

    #[test]
    fn parts_are_kept_apart() {
        type Sent = (&'static str, &'static [(&'static str, &'static str)], &'static str);
        let pairs: [Sent; 6] = [
            ("/a", &[("ab", "c")], "d"),
            ("/a", &[("a", "bc")], "d"),
            ("/a", &[("ab", "cd")], ""),
            ("/a", &[], "abcd"),
            ("/aab", &[], "cd"),
            ("/a", &[("ab", "c"), ("d", "")], ""),
        ];
        for (index, (target, headers, body)) in pairs.iter().enumerate() {
            for (other_target, other_headers, other_body) in &pairs[index + 1..] {
                let other = request(other_target, other_headers, other_body);
                assert_ne!(request(target, headers, body), other, "{index}");
            }
        }
    }
}
