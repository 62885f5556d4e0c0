//! The time limit of a whole request, and whether client or backend gets the error beyond it.

use std::io::Write;
use std::thread;
use std::time::Duration;

use driftlock_e2e::admin::DETECT;
use driftlock_e2e::poll::eventually;

use crate::client::{Client, request};
use crate::support::script::{End, Script};
use crate::with;

const PIECE: Duration = Duration::from_millis(50);
/// The upload takes longer than the backend may, and far less than a request may.
const LONG_UPLOAD: &str = "[timeouts]\nrequest_ms = 30000\nbackend_head_ms = 2000\n";
const UPLOAD_PIECE: Duration = Duration::from_millis(250);
const SHORT_REQUEST: &str = "[timeouts]\nrequest_ms = 600\n";
/// The answer's head comes well within the time, its last piece well after it.
const SHORT_ANSWER: &str = "[timeouts]\nrequest_ms = 2000\n";
const ANSWER_PIECE: Duration = Duration::from_millis(150);

#[test]
fn an_upload_longer_than_the_backends_time_is_not_the_backends_fault() {
    with(LONG_UPLOAD, |gateway, _, key, organization| {
        let mut client = Client::connect(gateway);
        let head = request(key, &format!("POST {DETECT}"), "Content-Length: 9\r\n\r\n");
        client.write(&head);
        for byte in "{\"a\": 12}".chars() {
            thread::sleep(UPLOAD_PIECE);
            client.write(&byte.to_string());
        }
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(organization.units(), 1);
    });
}

#[test]
fn an_upload_that_never_ends_is_408_and_costs_nothing() {
    with(SHORT_REQUEST, |gateway, backend, key, organization| {
        let mut client = Client::connect(gateway);
        let head = request(key, &format!("POST {DETECT}"), "Content-Length: 1000000\r\n\r\n");
        client.write(&head);
        let mut writer = client.0.try_clone().expect("a second handle");
        let upload = thread::spawn(move || {
            while writer.write_all(&[b'x'; 100]).is_ok() {
                thread::sleep(PIECE);
            }
        });
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        drop(client);
        upload.join().expect("it ends with its connection");
        assert!(backend.take().is_empty(), "the backend never saw it whole");
        assert_eq!(organization.units(), 0);
    });
}

#[test]
fn an_answer_that_never_ends_is_broken_off_and_a_stream_is_not() {
    with(SHORT_ANSWER, |gateway, backend, key, organization| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let mut pieces = vec![(Duration::ZERO, head.as_bytes().to_vec())];
        pieces.extend((0..30).map(|_| (ANSWER_PIECE, b"data: 1\n\n".to_vec())));
        let script = Script { pieces, repeated: (0, 0), end: End::Close };
        backend.say(script);
        let mut client = Client::connect(gateway);
        let post = request(key, &format!("POST {DETECT}"), "Content-Length: 2\r\n\r\n{}");
        client.write(&post);
        let answer = client.rest();
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.ends_with("0\r\n\r\n"), "{answer}");
        eventually("the truncation is in the audit log", || {
            organization.audit().iter().any(|row| row["outcome"] == "truncated").then_some(())
        });

        let mut client = Client::connect(gateway);
        let events = request(key, "GET /api/v1/stream/anomalies", "Connection: close\r\n\r\n");
        client.write(&events);
        let answer = client.rest();
        assert_eq!(answer.matches("data: 1").count(), 30, "{answer}");
        assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    });
}
