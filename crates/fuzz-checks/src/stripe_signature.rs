//! `Stripe-Signature`: only the holder of the secret can sign, and only for the present time.
//!
//! The input's first line is the header, the rest the body.

use driftlock_domain::stripe::signature::{Secrets, sign, verify};

const SECRET: &str = "whsec_fuzzed0123456789abcdefABCDEF";
const NOW: i64 = 1_700_000_000;

/// # Panics
/// If a header signed without the secret is accepted, or one signed with it is refused.
pub fn check(bytes: &[u8]) {
    let secrets = Secrets::parse(SECRET).unwrap_or_else(|error| panic!("a secret: {error}"));
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (header, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let header = String::from_utf8_lossy(header);
    assert!(verify(&*header, body, NOW, &secrets).is_err(), "signed without the secret");

    let own = sign(SECRET, NOW, body);
    assert!(verify(&own, body, NOW, &secrets).is_ok());
    for time in [NOW - 301, NOW + 301] {
        assert!(verify(&own, body, time, &secrets).is_err(), "it was signed for another time");
    }
    let longer = [body, b"x"].concat();
    assert!(verify(&own, &longer, NOW, &secrets).is_err(), "it was signed for another body");
    // Further signatures change nothing; a second time is refused.
    if !header.split(',').any(|part| part.trim().starts_with('t')) {
        assert!(verify(format!("{own},{header}"), body, NOW, &secrets).is_ok(), "{header}");
    }
    assert!(verify(format!("{own},t={NOW}"), body, NOW, &secrets).is_err());
}
