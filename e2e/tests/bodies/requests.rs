//! Rare forms of requests.

use driftlock_e2e::admin::{DETECT, LIST};

use crate::client::{Client, request};
use crate::with;

#[test]
fn a_client_that_expects_100_gets_continue_only_if_it_may_send() {
    with("", |gateway, backend, key, organization| {
        let expect = "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        let line = format!("POST {DETECT}");
        let mut client = Client::connect(gateway);
        client.write(&request(key, &line, expect));
        assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
        assert!(backend.take().iter().all(|seen| seen.body_bytes == 0), "nothing before the body");
        client.write("{}");
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        assert_eq!(client.exactly(2), "{}");
        assert_eq!(organization.units(), 1);
        let head = backend.take().pop().expect("the backend saw it").head.to_lowercase();
        assert!(!head.contains("expect:"), "the gateway has met the expectation itself: {head}");

        let mut client = Client::connect(gateway);
        let keyless = request(key, &line, expect).replace(&key.secret, "dlk_unknown");
        client.write(&keyless);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 401 "), "refused before a byte of the body: {head}");
        let mut client = Client::connect(gateway);
        let long = "Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n";
        client.write(&request(key, &line, long));
        assert!(client.head().starts_with("HTTP/1.1 413 "));
        assert_eq!(organization.units(), 1);
    });
}

#[test]
fn trailers_end_a_body_and_are_no_headers() {
    with("", |gateway, backend, key, _| {
        let mut client = Client::connect(gateway);
        let chunked = "Transfer-Encoding: chunked\r\nTrailer: X-Organization-ID\r\n\r\n\
                       2\r\n{}\r\n0\r\nX-Organization-ID: org_forged\r\n\r\n";
        client.write(&request(key, &format!("POST {DETECT}"), chunked));
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        client.exactly(2);
        let seen = backend.take().pop().expect("the backend saw it");
        assert_eq!(seen.body_bytes, 2);
        assert!(!seen.head.contains("org_forged"), "{seen:?}");
        assert!(!seen.trailers.contains("org_forged"), "a trailer may not say it either: {seen:?}");
        // The connection works afterwards.
        client.write(&request(key, &format!("GET {LIST}"), "\r\n"));
        assert!(client.head().starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn head_goes_where_get_goes_and_options_is_the_gateways() {
    with("", |gateway, backend, key, _| {
        let mut client = Client::connect(gateway);
        client.write(&request(key, &format!("HEAD {LIST}"), "\r\n"));
        let head = client.head().to_lowercase();
        assert!(head.starts_with("http/1.1 200 ") && head.contains("content-length: 2\r\n"));
        // No byte of a body: the next answer follows at once.
        client.write(&request(key, &format!("OPTIONS {LIST}"), "\r\n"));
        let head = client.head().to_lowercase();
        assert!(head.starts_with("http/1.1 405 "), "{head}");
        assert!(head.contains("allow: get, head\r\n"), "{head}");
        let seen = backend.take();
        assert_eq!(seen.len(), 1, "only HEAD is the backend's: {seen:?}");
        assert!(seen[0].head.starts_with("HEAD "), "{seen:?}");
    });
}
