//! To the backend: who asks, from where, under which id.
//!
//! Whatever a client sent under the names that the gateway speaks with is removed first; so are
//! its credentials, which are the gateway's business alone.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{is_hop_by_hop, remove_named_by_connection, remove_where};
use crate::id::{KeyId, OrganizationId};
use crate::text;

/// What the gateway tells the backend of a request.
#[derive(Debug)]
pub struct Forward<'a> {
    /// Who calls.
    pub caller: &'a CallerHeaders,
    /// The request's id.
    pub request_id: &'a HeaderValue,
    /// The client's address.
    pub ip: IpAddr,
    /// Of the peer, if it is a trusted proxy, what it said of the way so far.
    pub trusted: TrustedWay,
}

/// A key and its organization as the backend is told of them: made once per key, not per request.
#[derive(Debug, Clone)]
pub struct CallerHeaders {
    organization: HeaderValue,
    key: HeaderValue,
}

impl CallerHeaders {
    /// Of this organization, by this key.
    #[must_use]
    pub fn of(organization: OrganizationId, key: KeyId) -> Self {
        Self { organization: value(organization.text().as_str()), key: value(key.text().as_str()) }
    }
}

/// Whether what a proxy said of the way so far is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedWay {
    /// The peer is the client: the way begins here.
    Direct,
    /// The peer is a trusted proxy: its `X-Forwarded-Proto` and `-Host` are passed on.
    Proxied,
}

/// Rewrites a client's headers for the backend.
pub fn to_backend(headers: &mut HeaderMap, forward: &Forward<'_>) {
    remove_named_by_connection(headers);
    let host = headers.remove(HOST);
    let told = match forward.trusted {
        TrustedWay::Proxied => (headers.remove(FORWARDED_PROTO), headers.remove(FORWARDED_HOST)),
        TrustedWay::Direct => (None, None),
    };
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
    remove_where(headers, |name| is_hop_by_hop(name) || is_forged(name) || is_met_here(name));

    headers.insert(ORGANIZATION, forward.caller.organization.clone());
    headers.insert(KEY, forward.caller.key.clone());
    headers.insert(REQUEST_ID, forward.request_id.clone());
    let ip = value(text::ip(forward.ip).as_str());
    headers.insert(FORWARDED_FOR, ip.clone());
    headers.insert(REAL_IP, ip);
    headers.insert(FORWARDED_BY, HeaderValue::from_static("driftlock-gateway"));
    let (proto, forwarded_host) = told;
    headers.insert(FORWARDED_PROTO, proto.unwrap_or(HeaderValue::from_static("http")));
    if let Some(host) = forwarded_host.or(host) {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// The gateway sends `100 Continue` itself, once a request may go on.
fn is_met_here(name: &str) -> bool {
    name == "expect"
}

/// A backend behind CGI or WSGI sees no difference between `x_organization_id` and ours.
fn is_forged(name: &str) -> bool {
    is_forgeable(name) || (name.contains('_') && is_forgeable(&name.replace('_', "-")))
}

/// Names that the gateway speaks with, and others that a backend might believe.
fn is_forgeable(name: &str) -> bool {
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
            | "forwarded"
            | "cf-connecting-ip"
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

/// Ids and addresses are ASCII, so that they always make a header.
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
        let forward = Forward {
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
    fn connection_cannot_take_ours_away() {
        let named = [("connection", "x-organization-id, x-secret, close"), ("x-secret", "1")];
        let found = rewritten(&named, TrustedWay::Direct);
        assert!(found.contains_key("x-organization-id"));
        assert!(!found.contains_key("x-secret"));
        assert!(!found.contains_key("connection"));
    }

    #[test]
    fn a_trusted_proxy_tells_the_scheme() {
        let told = [("x-forwarded-proto", "https"), ("x-forwarded-host", "a"), ("host", "b")];
        let found = rewritten(&told, TrustedWay::Proxied);
        assert_eq!(found["x-forwarded-proto"], "https");
        assert_eq!(found["x-forwarded-host"], "a");
    }
}
