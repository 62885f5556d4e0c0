//! Headers to the backend, headers from the backend, and those that the gateway adds.

mod backend;
mod forward;
mod limits;
mod names;
mod trace;

pub use backend::from_backend;
pub use forward::{CallerHeaders, ClientHeaders, Forward, TrustedWay, to_backend};
pub use limits::write_limits;
pub use names::{HeaderNames, is_name_pattern};
pub use trace::{request_id, trace_context};

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};

/// Whether a header is hop-by-hop (RFC 9110, section 7.6.1).
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Headers that are always end-to-end, so that `Connection` may not remove them: the gateway
/// decides by them, and the other side has to see the same headers (RFC 9110, section 7.6.1).
const END_TO_END: [&str; 11] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "idempotency-key",
    "origin",
    "set-cookie",
    "user-agent",
];

/// Whether a header is one that the gateway decides by.
pub(crate) fn is_end_to_end(name: &str) -> bool {
    END_TO_END.contains(&name)
}

/// The first end-to-end header that `Connection` names.
#[must_use]
pub fn misnamed_by_connection(headers: &HeaderMap) -> Option<&'static str> {
    named_by_connection(headers)
        .find_map(|name| END_TO_END.into_iter().find(|known| name.as_str() == *known))
}

/// Removes the headers that `Connection` names, except end-to-end ones.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> =
            named_by_connection(headers).filter(|name| !is_end_to_end(name.as_str())).collect();
        for name in named {
            headers.remove(name);
        }
    }
}

fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

/// Removes headers by name. It checks each of the few headers that exist, instead of searching for
/// each of the many names.
fn remove_where(headers: &mut HeaderMap, which: impl Fn(&str) -> bool) {
    let found: Vec<HeaderName> =
        headers.keys().filter(|name| which(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}
