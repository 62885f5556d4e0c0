//! WebSockets (RFC 6455): the only protocol that a connection may switch to, on routes that allow
//! it.
//!
//! The handshake is processed like any other request: the same steps, the same limits, and on a
//! metered route one charge for the connection. After the backend has accepted it, the gateway
//! passes the bytes on without parsing them.

use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

const PROTOCOL: HeaderValue = HeaderValue::from_static("websocket");
const CHANGES: HeaderValue = HeaderValue::from_static("Upgrade");
/// Sixteen bytes in base64 (RFC 6455, section 4.1).
const KEY_CHARS: usize = 24;

/// The protocol that a client's head asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// No WebSocket. A server may ignore any other `Upgrade` (RFC 9110, section 7.8), and the
    /// gateway does: HTTP clients offer `h2c` or `TLS/1.2` with ordinary requests.
    Nothing,
    /// A WebSocket, with a complete handshake.
    WebSocket,
    /// A WebSocket, with an incomplete handshake.
    Incomplete,
}

/// Finds out which protocol a client's head asks for. HTTP/1.0 has no `Upgrade`.
#[must_use]
pub fn asked(head: &Parts) -> Asked {
    let offered = head.headers.get_all(UPGRADE).iter();
    let mut offered = offered.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_websocket = |name: &[u8]| name.trim_ascii().eq_ignore_ascii_case(b"websocket");
    if head.version < Version::HTTP_11 || !offered.any(is_websocket) {
        return Asked::Nothing;
    }
    if is_handshake(head) { Asked::WebSocket } else { Asked::Incomplete }
}

/// Whether a head that the gateway forwards asks to switch protocols; see [`write_upgrade`].
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
}

/// Whether a head that asks for a WebSocket is a complete handshake (RFC 6455, section 4.2.1)
/// without a body. Parsers could read an incomplete one differently.
fn is_handshake(head: &Parts) -> bool {
    let only = |name: &HeaderName| {
        let mut values = head.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    let connection = head.headers.get_all(CONNECTION).iter();
    let mut named = connection.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && only(&UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && named.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        && only(&SEC_WEBSOCKET_VERSION) == Some(b"13")
        && only(&SEC_WEBSOCKET_KEY).is_some_and(|key| key.len() == KEY_CHARS)
        && !head.headers.contains_key(TRANSFER_ENCODING)
        && only(&CONTENT_LENGTH).is_none_or(|length| length == b"0")
}

/// Writes `Connection` and `Upgrade`, which were removed with all hop-by-hop headers.
pub fn write_upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, CHANGES);
    headers.insert(UPGRADE, PROTOCOL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use http::request::Builder;

    fn wanted(change: impl FnOnce(Builder) -> Builder) -> Asked {
        let whole = Request::get("/api/v1/live")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13");
        let key =
            |builder: Builder| builder.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        asked(&key(change(whole)).body(()).expect("a request").into_parts().0)
    }

    fn handshake(change: impl FnOnce(Builder) -> Builder) -> bool {
        wanted(change) == Asked::WebSocket
    }

    #[test]
    fn a_complete_handshake_is_accepted() {
        assert!(handshake(|whole| whole));
        assert!(handshake(|whole| whole.header("content-length", "0")));
    }

    #[test]
    fn an_incomplete_handshake_is_not_accepted() {
        assert!(!handshake(|whole| whole.method("POST")));
        assert!(!handshake(|whole| whole.version(Version::HTTP_10)));
        for (name, value) in [
            ("upgrade", "h2c"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
        ] {
            assert!(!handshake(|whole| whole.header(name, value)), "{name}: {value}");
        }
        let without = |name: &'static str| {
            handshake(move |mut whole| {
                whole.headers_mut().expect("well-formed").remove(name);
                whole
            })
        };
        for name in ["connection", "upgrade", "sec-websocket-version"] {
            assert!(!without(name), "{name}");
        }
    }
}
