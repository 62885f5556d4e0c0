//! Compares the framing parser with the parser of the HTTP library: both find the same heads; a
//! head whose body is framed twice is never accepted, an ordinary one always is.
//!
//! The input's first byte is the size of the pieces in which the other bytes arrive.

use driftlock_domain::framing::Framing;
use httparse::{EMPTY_HEADER, Header, Status};

const HEADERS_MAX: usize = 100;

/// # Panics
/// If a head with two framings or a fragment is accepted, or a head without a framing, or with one
/// plain framing, is refused.
pub fn check(bytes: &[u8]) {
    let Some((piece, mut rest)) = bytes.split_first() else { return };
    let (mut whole, mut pieces) = (Framing::default(), Framing::default());
    whole.feed(rest);
    rest.chunks(usize::from(*piece).max(1)).for_each(|piece| pieces.feed(piece));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"), "pieces make no difference");
    loop {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        let Ok(Status::Complete(length)) = head.parse(rest) else { return };
        let framings: Vec<_> = head.headers.iter().filter_map(framing).collect();
        let verdict = whole.head_read();
        let has_fragment = [head.method, head.path].iter().flatten().any(|part| part.contains('#'));
        match framings[..] {
            _ if has_fragment => assert!(verdict.is_err(), "a fragment is accepted"),
            [] => assert!(verdict.is_ok(), "a head without a body is refused"),
            [Body::Odd] => {}
            [Body::Sized(_) | Body::Chunked] => assert!(verdict.is_ok(), "one framing is enough"),
            _ => assert!(verdict.is_err(), "{} framings are accepted", framings.len()),
        }
        if verdict.is_err() {
            assert!(whole.head_read().is_err(), "a head is accepted after a refusal");
            return;
        }
        let Some(after) = after_body(&rest[length..], framings.first()) else { return };
        rest = after;
    }
}

enum Body {
    Sized(usize),
    Chunked,
    Odd,
}

fn framing(header: &Header<'_>) -> Option<Body> {
    if header.name.eq_ignore_ascii_case("transfer-encoding") {
        let plain = header.value.eq_ignore_ascii_case(b"chunked");
        return Some(if plain { Body::Chunked } else { Body::Odd });
    }
    if !header.name.eq_ignore_ascii_case("content-length") {
        return None;
    }
    let digits = std::str::from_utf8(header.value).ok();
    let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    // Zeros and spaces may make a number longer than the framing parser accepts.
    let number = digits.filter(|text| text.len() < 10).and_then(|text| text.parse().ok());
    Some(number.map_or(Body::Odd, Body::Sized))
}

/// The bytes after the body, if the body is complete and has a plain framing.
fn after_body<'a>(mut rest: &'a [u8], body: Option<&Body>) -> Option<&'a [u8]> {
    match body {
        None => return Some(rest),
        Some(Body::Sized(length)) => return rest.get(*length..),
        Some(Body::Odd) => return None,
        Some(Body::Chunked) => {}
    }
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let digits = std::str::from_utf8(&rest[..end]).ok()?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(digits, 16).ok().filter(|_| plain)?;
        rest = &rest[end + 2..];
        if size == 0 {
            return rest.strip_prefix(b"\r\n");
        }
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
