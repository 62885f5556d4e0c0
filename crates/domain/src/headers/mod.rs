//! Headers on their way to the backend, on their way back, and those that the gateway adds.

mod backend;
mod forward;
mod limits;
mod trace;

pub use backend::from_backend;
pub use forward::{CallerHeaders, Forward, TrustedWay, to_backend};
pub use limits::write_limits;
pub use trace::{request_id, trace_context};

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};

/// Whether a header concerns one connection only (RFC 9110, section 7.6.1).
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

/// Removes whatever `Connection` names.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
}

/// Removes headers by name, in one walk over the few that there are rather than a search for each
/// of the many that there might be.
fn remove_where(headers: &mut HeaderMap, which: impl Fn(&str) -> bool) {
    let found: Vec<HeaderName> =
        headers.keys().filter(|name| which(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}
