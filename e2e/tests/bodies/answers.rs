//! Rare forms of answers.

use driftlock_e2e::admin::{DETECT, LIST};

use crate::client::{Client, request};
use crate::support::script::{End, Script};
use crate::with;

#[test]
fn informational_answers_are_the_gateways_own_matter() {
    with("", |gateway, backend, key, organization| {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
        let text = format!("HTTP/1.1 100 Continue\r\n\r\n{early}{}", crate::OK);
        backend.say(Script::text(&text, End::Keep));
        let mut client = Client::connect(gateway);
        for units in 1..=2 {
            let post = request(key, &format!("POST {DETECT}"), "Content-Length: 2\r\n\r\n{}");
            client.write(&post);
            let head = client.head();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert_eq!(client.exactly(2), "{}");
            assert_eq!(organization.units(), units);
        }
    });
}

#[test]
fn an_answer_without_a_body_has_none_whatever_the_backend_sends() {
    with("", |gateway, backend, key, _| {
        for status in ["204 No Content", "304 Not Modified"] {
            let text = format!(
                "HTTP/1.1 {status}\r\nContent-Length: 60\r\n\r\nHTTP/1.1 200 OK\r\n\
                 Content-Length: 6\r\nX-Smuggled: 1\r\n\r\nforged"
            );
            backend.say(Script::text(&text, End::Keep));
            let mut client = Client::connect(gateway);
            client.write(&request(key, &format!("GET {LIST}"), "\r\n"));
            let head = client.head();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
            backend.say(Script::text(crate::OK, End::Keep));
            // Surplus bytes must not become the next answer, on either connection.
            for _ in 0..3 {
                client.write(&request(key, &format!("GET {LIST}"), "\r\n"));
                let head = client.head();
                assert!(head.starts_with("HTTP/1.1 200 "), "{status}: {head}");
                assert!(!head.contains("Smuggled"), "{status}: {head}");
                assert_eq!(client.exactly(2), "{}", "{status}");
            }
        }
    });
}

#[test]
fn an_answer_that_ends_with_its_connection_is_passed_on_whole() {
    with("", |gateway, backend, key, _| {
        let text = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nto the very end";
        backend.say(Script::text(text, End::Close));
        let mut client = Client::connect(gateway);
        client.write(&request(key, &format!("GET {LIST}"), "\r\n"));
        let head = client.head().to_lowercase();
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        assert_eq!(client.exactly(25), "F\r\nto the very end\r\n0\r\n\r\n");
        backend.say(Script::text(crate::OK, End::Keep));
        client.write(&request(key, &format!("GET {LIST}"), "\r\n"));
        assert!(client.head().starts_with("HTTP/1.1 200 "), "the client's connection goes on");
        assert_eq!(client.exactly(2), "{}");

        backend.say(Script::text(text, End::Close));
        let mut old = Client::connect(gateway);
        let request = request(key, &format!("GET {LIST}"), "\r\n");
        old.write(&request.replace("HTTP/1.1", "HTTP/1.0"));
        let answer = old.rest();
        assert!(!answer.to_lowercase().contains("chunked"), "HTTP/1.0 knows none: {answer}");
        assert!(answer.ends_with("\r\n\r\nto the very end"), "{answer}");
    });
}

#[test]
fn trailers_of_an_answer_end_its_body() {
    with("", |gateway, backend, key, _| {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                    2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n";
        backend.say(Script::text(text, End::Keep));
        let mut client = Client::connect(gateway);
        for _ in 0..2 {
            client.write(&request(key, &format!("GET {LIST}"), "\r\n"));
            assert!(client.head().starts_with("HTTP/1.1 200 "));
            assert_eq!(client.exactly(7), "2\r\n{}\r\n");
            let mut end = client.head();
            if end == "0\r\n" {
                end = client.head();
            }
            assert!(end.starts_with("0\r\n"), "{end}");
        }
    });
}
