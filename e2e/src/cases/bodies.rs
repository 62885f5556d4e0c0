//! Bodies beyond the route's limit are refused in every framing, and not charged.

use crate::admin::{DETECT, Organization};
use crate::raw;
use crate::target::Target;

/// The body limit of the shipped routes.
const BODY_BYTES_MAX: usize = 10 << 20;
const PIECE_BYTES: usize = 64 << 10;

/// The declared length suffices: no byte of the body is sent.
pub(super) fn a_declared_length_beyond_the_limit_is_413(target: &Target) {
    let length = (BODY_BYTES_MAX + 1).to_string();
    check_refused(target, &[("Content-Length", &length)], std::iter::empty());
}

pub(super) fn a_chunked_body_beyond_the_limit_is_413(target: &Target) {
    let piece = raw::chunk(&vec![b' '; PIECE_BYTES]);
    let pieces = std::iter::repeat_n(piece, BODY_BYTES_MAX / PIECE_BYTES + 1);
    let end = std::iter::once(b"0\r\n\r\n".to_vec());
    check_refused(target, &[("Transfer-Encoding", "chunked")], pieces.chain(end));
}

pub(super) fn a_chunked_body_within_the_limit_passes(target: &Target) {
    let organization = Organization::new(target);
    let bearer = format!("Bearer {}", organization.key().secret);
    let body = [&b"{\"data\":[\"li"[..], b"ne 1\",\"line 2\"]}"].map(raw::chunk);
    let pieces = body.into_iter().chain(std::iter::once(b"0\r\n\r\n".to_vec()));
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Transfer-Encoding", "chunked"),
    ];
    let answer = raw::exchange(target, &format!("POST {DETECT} HTTP/1.1"), &headers, pieces);
    answer.expect(200).receipt();
    assert_eq!(organization.units(), 1);
}

pub(super) fn a_large_body_within_the_limit_passes(target: &Target) {
    let organization = Organization::new(target);
    let text = format!("{{\"data\":\"{}\"}}", " ".repeat(9 << 20));
    let call = organization.key().call("POST", DETECT);
    let answer = call.bytes("application/json", text.into_bytes()).send();
    assert_ne!(answer.status, 413, "the gateway lets it through");
    assert!(answer.status == 200 || answer.header("x-usage-receipt").is_none());
}

fn check_refused(target: &Target, framing: &[(&str, &str)], pieces: impl Iterator<Item = Vec<u8>>) {
    let organization = Organization::new(target);
    let bearer = format!("Bearer {}", organization.key().secret);
    let mut headers =
        vec![("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    headers.extend_from_slice(framing);
    let refused = raw::exchange(target, &format!("POST {DETECT} HTTP/1.1"), &headers, pieces);
    refused.free().problem(413, "body-too-large");
    assert_eq!(organization.units(), 0);
}
