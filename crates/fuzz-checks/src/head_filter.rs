//! The filter of request heads: a head that it accepts has one framing and is within the bounds.
//!
//! The input's first line is `METHOD TARGET VERSION`, the others are headers.

use std::net::Ipv4Addr;

use driftlock_domain::address::{FORWARDED_FOR, Networks, client_ip};
use driftlock_domain::config::Filter;
use driftlock_domain::filter::{check_head, declared_length, is_accepted_type, is_refused_agent};
use driftlock_domain::headers::request_id;
use driftlock_domain::websocket::{Asked, asked};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Version};

use crate::lines;

/// # Panics
/// If an accepted head has two framings, two hosts, a target that is not a path, or is too large.
pub fn check(bytes: &[u8]) {
    let Some(head) = head(bytes) else { return };
    let _ = is_accepted_type(&head.headers, &["application/json".to_owned(), "text/*".to_owned()]);
    let _ = is_refused_agent(&head.headers, &["sqlmap".to_owned()]);
    let peer = Ipv4Addr::LOCALHOST.into();
    let ip = client_ip(&head.headers, peer, &Networks::default(), FORWARDED_FOR);
    assert_eq!(ip, peer, "no proxy is trusted");
    if let Some(id) = request_id(&head.headers) {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        assert!((1..=128).contains(&id.len()) && id.as_bytes().iter().all(plain), "{id:?}");
    }
    let filter = Filter::default();
    if check_head(&head, &filter).is_ok() {
        target(&head, &filter);
        framing(&head);
    }
}

fn target(head: &Parts, filter: &Filter) {
    assert!(![Method::CONNECT, Method::TRACE].contains(&head.method));
    assert!(head.uri.scheme().is_none() && head.uri.authority().is_none(), "{}", head.uri);
    assert!(head.uri.to_string().len() <= filter.target_bytes_max);
    let query = head.uri.query().unwrap_or_default();
    assert!(query.bytes().all(|byte| byte.is_ascii_graphic()), "{query}");
    assert!(head.headers.len() <= filter.headers_max);
    let bytes = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    assert!(bytes.sum::<usize>() <= filter.header_bytes_max);
}

fn framing(head: &Parts) {
    let all = |name| head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let hosts: Vec<&[u8]> = all("host");
    assert!(hosts.len() == 1 || (hosts.is_empty() && head.version < Version::HTTP_11));
    let is_websocket = asked(head) == Asked::WebSocket;
    assert!(!is_websocket || head.headers.contains_key("sec-websocket-key"), "no handshake");
    let (lengths, codings): (Vec<&[u8]>, Vec<&[u8]>) =
        (all("content-length"), all("transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => {}
        ([length], []) => {
            assert!(length.iter().all(u8::is_ascii_digit), "{length:?}");
            assert!(declared_length(&head.headers).is_some(), "{length:?}");
        }
        ([], [coding]) => {
            assert!(coding.trim_ascii().eq_ignore_ascii_case(b"chunked"), "{coding:?}");
            assert_eq!(head.version, Version::HTTP_11);
        }
        _ => panic!("the body has two framings: {lengths:?} {codings:?}"),
    }
}

/// The head, if the input is valid HTTP.
fn head(bytes: &[u8]) -> Option<Parts> {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let mut words = bytes[..end].split(|byte| *byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let version = match words.next()? {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/1.1" => Version::HTTP_11,
        _ => return None,
    };
    let request = Request::builder().method(method).uri(target).version(version).body(()).ok()?;
    let (mut head, ()) = request.into_parts();
    head.headers = lines::headers(&bytes[end..]);
    Some(head)
}
