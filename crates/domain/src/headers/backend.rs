//! Response headers from the backend: names that only the gateway sets are dropped, in any
//! spelling.

use http::HeaderMap;

use super::names::canonical;
use super::{is_end_to_end, is_hop_by_hop, remove_named_by_connection, remove_where};

/// Cleans a backend's headers before they are sent to the client.
pub fn from_backend(headers: &mut HeaderMap) {
    remove_named_by_connection(headers);
    remove_where(headers, |name| {
        let canonical = canonical(name);
        is_hop_by_hop(&canonical)
            || is_ours(&canonical)
            || (canonical != name && is_end_to_end(&canonical))
            || (canonical.starts_with("access-control-") && name != EXPOSED)
    });
}

/// Passed on, since only the backend knows which of its headers pages may read.
const EXPOSED: &str = "access-control-expose-headers";

/// Names that only the gateway sets, and names that reveal too much about the backend.
fn is_ours(name: &str) -> bool {
    name.starts_with("ratelimit")
        || name.starts_with("x-ratelimit-")
        || matches!(
            name,
            "x-usage-receipt"
                | "x-request-id"
                | "idempotency-replayed"
                | "server"
                | "x-powered-by"
                | "alt-svc"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_backend_cannot_set_the_gateways_headers() {
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

    #[test]
    fn other_spellings_are_dropped_too() {
        let mut headers = HeaderMap::new();
        for name in [
            "x_usage_receipt",
            "x.usage-receipt",
            "ratelimit_policy",
            "x_ratelimit_limit",
            "x_request_id",
            "access_control_allow_origin",
            "access_control_expose_headers",
            "content_type",
            "transfer_encoding",
            "access-control-expose-headers",
            "x_custom",
        ] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        from_backend(&mut headers);
        let mut left: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["access-control-expose-headers", "x_custom"]);
    }

    #[test]
    fn connection_does_not_remove_end_to_end_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("content-type, x-hop, close"));
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        from_backend(&mut headers);
        let left: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(left, ["content-type"]);
    }
}
