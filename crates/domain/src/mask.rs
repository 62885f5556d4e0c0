//! Masks secrets in text that is about to be logged or shown.
//!
//! Text of other services (a backend, Stripe, a store) may repeat what was sent to them. It is
//! therefore masked before it leaves the gateway: every secret that the host knows, and everything
//! that has the form of a key.

use std::borrow::Cow;

/// The text that replaces a secret.
pub const MASK: &str = "***";
/// Shorter secrets are not masked, since that would make ordinary words unreadable.
const EXACT_CHARS_MIN: usize = 8;
/// How keys begin: the gateway's, Stripe's, Supabase's, and JSON Web Tokens.
const PREFIXES: [&str; 9] = [
    "dlk_",
    "whsec_",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "sb_secret_",
    "eyJ",
    "Bearer ",
];
/// A text counts as a key if this many characters follow the prefix. After `dlk_`, the part of a
/// key that the gateway shows has 8 more characters, so it is not masked.
const REST_CHARS_MIN: usize = 16;

/// The text with all of `secrets`, and everything that has the form of a key, masked.
#[must_use]
pub fn masked<'a>(text: &'a str, secrets: &[String]) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for secret in secrets.iter().filter(|secret| secret.len() >= EXACT_CHARS_MIN) {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), MASK));
        }
    }
    for prefix in PREFIXES {
        if text.contains(prefix) {
            text = Cow::Owned(without_keys(&text, prefix));
        }
    }
    text
}

/// The text with everything masked that has the form of a key; for callers that know no secrets.
#[must_use]
pub fn masked_forms(text: &str) -> String {
    masked(text, &[]).into_owned()
}

fn without_keys(text: &str, prefix: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(prefix) {
        let (before, from) = rest.split_at(at + prefix.len());
        let is_word_start = !before[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        let length = from.find(|c: char| !is_key_char(c)).unwrap_or(from.len());
        kept.push_str(before);
        if is_word_start && length >= REST_CHARS_MIN {
            kept.push_str(MASK);
        } else {
            kept.push_str(&from[..length]);
        }
        rest = &from[length..];
    }
    kept.push_str(rest);
    kept
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '/' | '=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::ApiKeySecret;

    #[test]
    fn exact_secrets_are_masked_everywhere() {
        let secrets = ["hunter2-and-more".to_owned(), "short".to_owned()];
        let text = "error: key hunter2-and-more, again:hunter2-and-more; short is a word";
        assert_eq!(masked(text, &secrets), "error: key ***, again:***; short is a word");
        assert!(matches!(masked("nothing here", &secrets), Cow::Borrowed(_)));
    }

    #[test]
    fn keys_of_every_form_are_masked_but_not_the_prefixes_that_are_shown() {
        let key = ApiKeySecret::mint([7; 32]);
        let echoed = format!("backend said: \"{}\" is unknown", key.expose());
        assert_eq!(masked(&echoed, &[]), "backend said: \"dlk_***\" is unknown");
        let shown = format!("key {} revoked", key.shown());
        assert_eq!(masked(&shown, &[]), shown);
        for (text, right) in [
            ("Invalid API Key: sk_live_0123456789abcdefXYZ.", "Invalid API Key: sk_live_***"),
            ("rk_test_0123456789abcdefXYZ", "rk_test_***"),
            ("whsec_0123456789abcdef!", "whsec_***!"),
            ("apikey=sb_secret_0123456789abcdef&x", "apikey=sb_secret_***&x"),
            ("jwt eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl end", "jwt eyJ*** end"),
            ("Authorization: Bearer 0123456789abcdef0123", "Authorization: Bearer ***"),
            ("a whsec_… secret and a Bearer token", "a whsec_… secret and a Bearer token"),
            ("task_test_0123456789abcdefXYZ", "task_test_0123456789abcdefXYZ"),
        ] {
            assert_eq!(masked(text, &[]), right);
        }
    }
}
