//! Headers on their way to the backend, on their way back, and those that the gateway adds.

mod backend;
mod forward;
mod limits;
mod trace;

pub use backend::from_backend;
pub use forward::{Forward, TrustedWay, to_backend};
pub use limits::write_limits;
pub use trace::{request_id, trace_context};

use http::{HeaderMap, HeaderName};

/// Headers that concern one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Removes what concerns one connection only, and whatever `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key("connection") {
        let named: Vec<HeaderName> = headers
            .get_all("connection")
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}
