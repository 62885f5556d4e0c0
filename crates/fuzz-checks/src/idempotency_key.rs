//! Idempotency-Key: within the bounds, each key distinct, and the same quoted or as a token.

use driftlock_domain::headers::HeaderNames;
use driftlock_domain::id::OrganizationId;
use driftlock_domain::idempotency::{KEY_CHARS_MAX, fingerprint, parse, scoped};

use http::{HeaderMap, Method};

use crate::lines::header;

/// # Panics
/// If a key out of bounds is accepted, or two keys become one.
pub fn check(bytes: &[u8]) {
    let Some(headers) = header("idempotency-key", bytes) else { return };
    let Ok(Some(key)) = parse(&headers) else { return };
    assert!((1..=KEY_CHARS_MAX).contains(&key.chars().count()), "{key:?}");
    assert!(key.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{key:?}");
    let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
    let again = header("idempotency-key", quoted.as_bytes()).map(|headers| parse(&headers));
    assert_eq!(again, Some(Ok(Some(key.clone()))), "quoted, it is the same key");
    let bare = header("idempotency-key", key.as_bytes()).map(|headers| parse(&headers));
    if let Some(Ok(Some(bare))) = bare
        && !key.trim_start().starts_with('"')
    {
        assert_eq!(bare, key.trim(), "bare, it is the same key");
    }
    let organization = OrganizationId::from_bytes([1; 16]);
    let own = scoped(organization, "POST /a", &key);
    assert_eq!(own, scoped(organization, "POST /a", &key.clone()));
    assert_ne!(own, scoped(organization, "POST /", &format!("a{key}")));
    assert_ne!(own, scoped(organization, "POST /a", &format!("{key}x")));
    assert_ne!(own, scoped(OrganizationId::from_bytes([2; 16]), "POST /a", &key));
    let (one, two) = key.split_at(key.len() / 2);
    let none = HeaderNames::default();
    let of = |target, headers: &HeaderMap, body: &str| {
        fingerprint(&Method::POST, target, headers, &none, body.as_bytes())
    };
    let (none_sent, sent) = (HeaderMap::new(), header("x-question", two.as_bytes()));
    let both = of(one, &none_sent, two);
    // The same bytes divided into other parts have another fingerprint.
    assert!(two.is_empty() || both != of(&key, &none_sent, ""));
    assert!(sent.is_none_or(|sent| both != of(one, &sent, "")));
}
