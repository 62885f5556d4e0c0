//! API keys: what is minted is read, what is mistyped is not, and nothing tells a key.

use driftlock_domain::key::{ApiKeySecret, MalformedKey, PresentedKey};

use crate::lines::header;

/// # Panics
/// If a minted key is not read, a broken one is, or `Debug` tells one.
pub fn check(bytes: &[u8]) {
    if let Some(headers) = header("authorization", bytes) {
        // Whatever it is, it is read or refused, and told to nobody.
        let shown = format!("{:?}", PresentedKey::parse(&headers));
        let text = String::from_utf8_lossy(bytes);
        let token = text.trim().rsplit(' ').next().unwrap_or_default();
        assert!(token.len() < 12 || !shown.contains(token), "{shown}");
    }
    let mut entropy = [0; 32];
    bytes.iter().zip(&mut entropy).for_each(|(from, to)| *to = *from);
    let minted = ApiKeySecret::mint(entropy);
    let read = |text: &str| {
        let headers = header("authorization", format!("Bearer {text}").as_bytes());
        headers.map(|headers| PresentedKey::parse(&headers))
    };
    let found = read(minted.expose());
    assert!(matches!(found, Some(Ok(key)) if key.hash() == minted.hash()), "{found:?}");
    // One changed character is always noticed.
    let place =
        bytes.iter().fold(4, |place, byte| place + usize::from(*byte)) % minted.expose().len();
    let other = if minted.expose().as_bytes()[place] == b'a' { "b" } else { "a" };
    let mut mistyped = minted.expose().to_owned();
    mistyped.replace_range(place..=place, other);
    if mistyped.starts_with("dlk_") {
        assert_eq!(read(&mistyped), Some(Err(MalformedKey::Checksum)), "{place}");
    }
}
