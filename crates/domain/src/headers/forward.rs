//! Request headers to the backend: caller, client address, request id.
//!
//! First, the client's own headers with these names are removed. So are the client's credentials,
//! which only the gateway needs, and headers that a backend could mistake for those of a proxy.

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::names::{HeaderNames, canonical};
use super::{is_end_to_end, is_hop_by_hop, remove_named_by_connection, remove_where};
use crate::id::{KeyId, OrganizationId};
use crate::text;

/// What the gateway states to the backend about a request.
#[derive(Debug)]
pub struct Forward<'a> {
    /// The client's headers that are not forwarded.
    pub client: &'a ClientHeaders,
    /// The caller.
    pub caller: &'a CallerHeaders,
    /// The request's id.
    pub request_id: &'a HeaderValue,
    /// The client's address.
    pub ip: IpAddr,
    /// Whether the peer is a trusted proxy, whose forwarding headers are used.
    pub trusted: TrustedWay,
}

/// The headers that name a key and its organization. They are made once per key, not per request.
#[derive(Debug, Clone)]
pub struct CallerHeaders {
    organization: HeaderValue,
    key: HeaderValue,
}

impl CallerHeaders {
    /// The headers for this organization and this key.
    #[must_use]
    pub fn of(organization: OrganizationId, key: KeyId) -> Self {
        Self { organization: value(organization.text().as_str()), key: value(key.text().as_str()) }
    }
}

/// Whether the peer's forwarding headers (`X-Forwarded-Proto` and others) are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedWay {
    /// The peer counts as the client: its forwarding headers are dropped.
    Direct,
    /// The peer is a trusted proxy: its forwarding headers are passed on.
    Proxied,
}

/// The client's headers that are not forwarded.
#[derive(Debug, Clone, Default)]
pub struct ClientHeaders {
    untrusted: HeaderNames,
    configured: HeaderNames,
}

impl ClientHeaders {
    /// `untrusted` is `filter.untrusted_headers`; `configured` are the names of `backend.headers`,
    /// which the gateway sets itself.
    pub fn new<S: AsRef<str>>(
        untrusted: &[String],
        configured: impl IntoIterator<Item = S>,
    ) -> Self {
        Self { untrusted: HeaderNames::new(untrusted), configured: HeaderNames::new(configured) }
    }

    /// Removes them. The remaining headers are forwarded to the backend.
    pub fn remove_from(&self, headers: &mut HeaderMap, trusted: TrustedWay) {
        remove_named_by_connection(headers);
        remove_where(headers, |name| self.stops(name, trusted));
    }

    fn stops(&self, name: &str, trusted: TrustedWay) -> bool {
        let canonical = canonical(name);
        // Proxies use the usual spelling of a header; another spelling comes from the client.
        let is_misspelt = canonical != name;
        is_hop_by_hop(&canonical)
            || is_met_here(&canonical)
            || is_ours(&canonical)
            || self.configured.contains_canonical(&canonical)
            || (is_misspelt && is_end_to_end(&canonical))
            || (self.untrusted.contains_canonical(&canonical)
                && (is_misspelt || trusted == TrustedWay::Direct))
    }
}

/// Rewrites a client's headers for the backend.
pub fn to_backend(headers: &mut HeaderMap, forward: &Forward<'_>) {
    // Read before anything is removed: the client's `Connection` may name these headers.
    let last = |name| headers.get_all(name).iter().next_back().cloned();
    let (proto, forwarded_host) = match forward.trusted {
        TrustedWay::Proxied => (last(FORWARDED_PROTO), last(FORWARDED_HOST)),
        TrustedWay::Direct => (None, None),
    };
    let host = headers.remove(HOST);
    forward.client.remove_from(headers, forward.trusted);

    headers.insert(ORGANIZATION, forward.caller.organization.clone());
    headers.insert(KEY, forward.caller.key.clone());
    headers.insert(REQUEST_ID, forward.request_id.clone());
    let ip = value(text::ip(forward.ip).as_str());
    headers.insert(FORWARDED_FOR, ip.clone());
    headers.insert(REAL_IP, ip);
    headers.insert(FORWARDED_BY, HeaderValue::from_static("driftlock-gateway"));
    headers.insert(FORWARDED_PROTO, proto.unwrap_or(HeaderValue::from_static("http")));
    if let Some(host) = forwarded_host.or(host) {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// Headers that are meant for the gateway only. The gateway itself sends `100 Continue`, after it
/// has admitted a request.
fn is_met_here(name: &str) -> bool {
    matches!(name, "authorization" | "cookie" | "expect" | "host")
}

/// Names that the gateway sets, towards the backend or the client.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "x-organization-id"
            | "x-api-key-id"
            | "x-request-id"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-real-ip"
            | "x-forwarded-by"
            | "x-usage-receipt"
            | "idempotency-replayed"
    )
}

const ORGANIZATION: HeaderName = HeaderName::from_static("x-organization-id");
const KEY: HeaderName = HeaderName::from_static("x-api-key-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_BY: HeaderName = HeaderName::from_static("x-forwarded-by");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Ids and addresses are ASCII, so this always succeeds.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(pairs: &[(&'static str, &'static str)], trusted: TrustedWay) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let untrusted = crate::config::Filter::default().untrusted_headers;
        let forward = Forward {
            client: &ClientHeaders::new(&untrusted, ["x-api-key"]),
            caller: &CallerHeaders::of(
                OrganizationId::from_bytes([1; 16]),
                KeyId::from_bytes([2; 16]),
            ),
            request_id: &HeaderValue::from_static("r-1"),
            ip: "192.0.2.1".parse().expect("an address"),
            trusted,
        };
        to_backend(&mut headers, &forward);
        headers
    }

    #[test]
    fn what_a_client_forged_is_replaced() {
        let forged = [
            ("host", "api.example"),
            ("x-organization-id", "org_evil"),
            ("x-api-key-id", "key_evil"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-real-ip", "6.6.6.6"),
            ("x_organization_id", "org_evil"),
            ("x-forwarded_for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("authorization", "Bearer dlk_x"),
            ("cookie", "a=b"),
            ("accept", "*/*"),
        ];
        let found = rewritten(&forged, TrustedWay::Direct);
        assert_eq!(found["x-organization-id"], "org_01010101010101010101010101010101");
        assert_eq!(found["x-api-key-id"], "key_02020202020202020202020202020202");
        assert_eq!(found["x-forwarded-for"], "192.0.2.1");
        assert_eq!(found.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(found["x-real-ip"], "192.0.2.1");
        assert_eq!(found["x-forwarded-proto"], "http");
        assert_eq!(found["x-forwarded-host"], "api.example");
        assert_eq!(found["accept"], "*/*");
        for gone in ["authorization", "cookie", "host", "x_organization_id", "x-forwarded_for"] {
            assert!(!found.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn connection_cannot_remove_the_gateways_headers() {
        let named = [
            ("connection", "x-organization-id, x-secret, content-type, close"),
            ("x-secret", "1"),
            ("content-type", "text/plain"),
        ];
        let found = rewritten(&named, TrustedWay::Direct);
        assert!(found.contains_key("x-organization-id"));
        assert!(found.contains_key("content-type"), "an end-to-end header");
        assert!(!found.contains_key("x-secret"));
        assert!(!found.contains_key("connection"));
        let named = [
            ("connection", "x-forwarded-proto, x-forwarded-host, host"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a"),
            ("host", "b"),
        ];
        let found = rewritten(&named, TrustedWay::Proxied);
        assert_eq!(found["x-forwarded-proto"], "https");
        assert_eq!(found["x-forwarded-host"], "a");
        assert_eq!(rewritten(&named, TrustedWay::Direct)["x-forwarded-host"], "b");
    }

    /// Headers that backends could mistake for those of a proxy.
    const UNTRUSTED: [&str; 18] = [
        "forwarded",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-scheme",
        "x-forwarded-ssl",
        "x-forwarded-uri",
        "x-forwarded-user",
        "true-client-ip",
        "x-client-ip",
        "cf-connecting-ip",
        "cf-access-jwt-assertion",
        "cf-access-authenticated-user-email",
        "remote-user",
        "x-remote-user",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "proxy",
    ];

    #[test]
    fn a_clients_forwarding_headers_are_dropped() {
        let sent = UNTRUSTED.map(|name| (name, "forged"));
        let direct = rewritten(&sent, TrustedWay::Direct);
        let proxied = rewritten(&sent, TrustedWay::Proxied);
        for name in UNTRUSTED {
            assert!(!direct.contains_key(name), "{name} from a client");
            assert_eq!(proxied[name], "forged", "{name} from a trusted proxy");
        }
    }

    #[test]
    fn other_spellings_are_dropped_even_from_a_trusted_proxy() {
        let sent = [
            ("x.organization.id", "org_evil"),
            ("x_forwarded_user", "root"),
            ("x_api_key", "the backend's own key"),
            ("x.api.key", "the backend's own key"),
            ("content_length", "1"),
            ("content_type", "text/html"),
            ("transfer_encoding", "chunked"),
            ("x.http_method.override", "DELETE"),
            ("x_custom", "passes"),
        ];
        for trusted in [TrustedWay::Direct, TrustedWay::Proxied] {
            let found = rewritten(&sent, trusted);
            let left: Vec<_> = found.keys().filter(|name| found[*name] != "passes").collect();
            assert_eq!(left.len(), 7, "only what the gateway adds: {left:?}");
            assert_eq!(found["x_custom"], "passes");
        }
    }

    #[test]
    fn scheme_and_host_come_from_a_trusted_proxy() {
        let sent = [("x-forwarded-proto", "https"), ("x-forwarded-host", "a"), ("host", "b")];
        let found = rewritten(&sent, TrustedWay::Proxied);
        assert_eq!(found["x-forwarded-proto"], "https");
        assert_eq!(found["x-forwarded-host"], "a");
    }
}
