//! API keys: created keys are accepted, mistyped ones are not, and `Debug` shows no key.

use driftlock_domain::key::{ApiKeySecret, MalformedKey, PresentedKey};

use crate::lines::header;

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// # Panics
/// If a created key is refused, a malformed one is accepted, or `Debug` shows one.
pub fn check(bytes: &[u8]) {
    if let Some(headers) = header("authorization", bytes) {
        let parsed = PresentedKey::parse(&headers);
        assert_eq!(parsed.is_ok(), token(bytes).is_some_and(is_well_formed), "{parsed:?}");
        // An error's text is fixed, so it cannot contain the key.
        if let Ok(key) = &parsed {
            let shown = format!("{key:?} {:?}", key.hash());
            let token = String::from_utf8_lossy(token(bytes).unwrap_or_default());
            assert!(token.len() < 24 || !shown.contains(&*token), "{shown}");
        }
    }
    let mut entropy = [0; 32];
    bytes.iter().zip(&mut entropy).for_each(|(from, to)| *to = *from);
    minted(&ApiKeySecret::mint(entropy), bytes);
}

fn minted(key: &ApiKeySecret, bytes: &[u8]) {
    let text = key.expose();
    assert!(text.len() == 40 && text[4..].bytes().all(|byte| BASE62.contains(&byte)));
    assert!(is_well_formed(text.as_bytes()), "its checksum is the CRC-32 of its entropy");
    assert!(!format!("{key:?}{:?}", key.hash()).contains(key.shown()));
    let read = |text: &str| {
        let headers = header("authorization", format!("Bearer {text}").as_bytes());
        headers.map(|headers| PresentedKey::parse(&headers))
    };
    let found = read(text);
    assert!(matches!(found, Some(Ok(found)) if found.hash() == key.hash()), "{found:?}");
    // One changed character is always detected.
    let place = 4 + bytes.iter().fold(0, |sum, byte| sum + usize::from(*byte)) % 36;
    let other = if text.as_bytes()[place] == b'a' { "b" } else { "a" };
    let mut mistyped = text.to_owned();
    mistyped.replace_range(place..=place, other);
    assert_eq!(read(&mistyped), Some(Err(MalformedKey::Checksum)), "{place}");
}

/// The text after `Bearer `.
fn token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = (value.get(..7)?, value.get(7..)?);
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether a token is looked up: visible characters, within the bounds, and with a valid checksum
/// if it begins with `dlk_`.
fn is_well_formed(token: &[u8]) -> bool {
    let visible = (1..=512).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    visible
        && match token.strip_prefix(b"dlk_") {
            Some(body) => body.len() == 36 && base62(crc32(&body[..30])) == body[30..],
            None => true,
        }
}

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    });
    !crc
}

fn base62(number: u32) -> [u8; 6] {
    [5, 4, 3, 2, 1, 0].map(|place| BASE62[(number / 62_u32.pow(place) % 62) as usize])
}
