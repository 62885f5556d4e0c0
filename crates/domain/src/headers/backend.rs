//! From the backend: what is the gateway's to say is dropped.

use http::HeaderMap;

use super::{is_hop_by_hop, remove_named_by_connection, remove_where};

/// Cleans a backend's headers before they are answered.
pub fn from_backend(headers: &mut HeaderMap) {
    remove_named_by_connection(headers);
    remove_where(headers, |name| is_hop_by_hop(name) || is_ours(name) || is_cors(name));
}

/// Names that only the gateway speaks with, and what tells too much of the backend.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "x-usage-receipt"
            | "ratelimit"
            | "ratelimit-policy"
            | "x-ratelimit-limit"
            | "x-ratelimit-remaining"
            | "x-ratelimit-reset"
            | "x-request-id"
            | "idempotency-replayed"
            | "server"
            | "x-powered-by"
            | "alt-svc"
    )
}

fn is_cors(name: &str) -> bool {
    name.starts_with("access-control-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_backend_cannot_speak_for_the_gateway() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-usage-receipt",
            "ratelimit",
            "x-ratelimit-remaining",
            "x-request-id",
            "access-control-allow-origin",
            "server",
            "connection",
            "content-type",
            "location",
        ] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        from_backend(&mut headers);
        let mut left: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-type", "location"]);
    }
}
