//! The `Stripe-Signature` header: HMAC-SHA256 over `<t>.<raw body>`, in constant time.
//!
//! The body is the received bytes, never re-encoded text: a byte order mark or an unusual escape is
//! part of what was signed. During a rotation several secrets are valid at once, and Stripe sends
//! several `v1`; one matching pair is enough.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// How far the header's time may differ from ours, in either direction, in seconds.
pub const TOLERANCE_SECS: u64 = 300;
/// The least number of characters of a secret after `whsec_`; Stripe uses 32.
pub const SECRET_CHARS_MIN: usize = 16;
/// What every endpoint's signing secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// The most secrets that are valid at once.
pub const SECRETS_MAX: usize = 16;

/// The endpoint's signing secrets, `whsec_…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

/// Text that is not a list of signing secrets. The message never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSecrets {
    /// There is no text before, between or after the commas.
    #[error("a secret is empty")]
    Empty,
    /// A secret has a space, a line break or another character that Stripe never uses.
    #[error("a secret contains a space or an unprintable character")]
    Unprintable,
    /// An API key was given instead of the endpoint's signing secret.
    #[error("that is an API key; the endpoint's signing secret begins with whsec_")]
    ApiKey,
    /// A secret is too short, or has another form.
    #[error(
        "a secret is not whsec_ and at least {SECRET_CHARS_MIN} characters; Stripe's dashboard and \
         `stripe listen --print-secret` show the endpoint's signing secret"
    )]
    Form,
    /// There are too many.
    #[error("more than {SECRETS_MAX} secrets")]
    TooMany,
}

/// Why a delivery is not accepted as Stripe's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is not exactly one `t=` in canonical decimal.
    #[error("Stripe-Signature needs exactly one t=<unix seconds>")]
    NoTime,
    /// No `v1=` holds 64 hex digits.
    #[error("Stripe-Signature needs a v1=<64 hex digits>")]
    NoSignature,
    /// Signed too long ago, or in the future.
    #[error("the signature's time is more than {TOLERANCE_SECS} s from ours")]
    OutsideTolerance,
    /// No signature of this body was made with one of the secrets.
    #[error("no signature matches the body")]
    Mismatch,
}

impl Secrets {
    /// Reads secrets separated by commas, each `whsec_` and at least [`SECRET_CHARS_MIN`]
    /// characters.
    ///
    /// # Errors
    /// [`MalformedSecrets`] says what is wrong with one of them.
    pub fn parse(text: &str) -> Result<Self, MalformedSecrets> {
        let secrets = Self::parse_any_form(text)?;
        let is_long = |rest: &str| rest.len() >= SECRET_CHARS_MIN;
        let is_right = |secret: &String| secret.strip_prefix(SECRET_PREFIX).is_some_and(is_long);
        if secrets.0.iter().all(is_right) { Ok(secrets) } else { Err(MalformedSecrets::Form) }
    }

    /// Reads secrets of any form, as published test vectors have them.
    ///
    /// # Errors
    /// [`MalformedSecrets`] says what is wrong with one of them.
    pub fn parse_any_form(text: &str) -> Result<Self, MalformedSecrets> {
        let secrets: Vec<String> = text.split(',').map(str::to_owned).collect();
        if secrets.len() > SECRETS_MAX {
            return Err(MalformedSecrets::TooMany);
        }
        secrets.iter().try_for_each(|secret| check(secret))?;
        Ok(Self(secrets))
    }
}

/// Verifies a delivery at `now` (Unix seconds).
///
/// # Errors
/// [`SignatureError`] says what is missing or wrong.
pub fn verify(
    header: impl AsRef<[u8]>,
    body: &[u8],
    now: i64,
    secrets: &Secrets,
) -> Result<(), SignatureError> {
    verify_within(header.as_ref(), body, now, secrets, TOLERANCE_SECS)
}

/// The header's value for a body signed at `time` (Unix seconds) with one secret.
#[must_use]
pub fn sign(secret: &str, time: i64, body: &[u8]) -> String {
    sign_with(&[secret], time, body)
}

/// The header's value during a rotation, with a `v1` for each valid secret.
#[must_use]
pub fn sign_with(secrets: &[impl AsRef<str>], time: i64, body: &[u8]) -> String {
    let mut header = format!("t={time}");
    for secret in secrets {
        header.push_str(",v1=");
        header.push_str(&digest(secret.as_ref(), time.to_string().as_bytes(), body));
    }
    header
}

/// The signature in hex; the time may be any text.
pub(super) fn digest(secret: &str, time: &[u8], body: &[u8]) -> String {
    hex::encode(mac(secret, time, body).finalize().into_bytes())
}

/// [`verify`] with another tolerance (seconds), as test vectors need it.
///
/// # Errors
/// [`SignatureError`] says what is missing or wrong.
pub fn verify_within(
    header: &[u8],
    body: &[u8],
    now: i64,
    secrets: &Secrets,
    tolerance_secs: u64,
) -> Result<(), SignatureError> {
    Presented::parse_within(header, now, tolerance_secs)?.verify(body, secrets)
}

/// A header that was parsed and whose time is valid. It is checked before the body is read.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    time: &'a [u8],
    header: &'a [u8],
}

impl<'a> Presented<'a> {
    /// Reads a header at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`SignatureError`] if the header cannot match any body.
    pub fn parse(header: &'a [u8], now: i64) -> Result<Self, SignatureError> {
        Self::parse_within(header, now, TOLERANCE_SECS)
    }

    fn parse_within(
        header: &'a [u8],
        now: i64,
        tolerance_secs: u64,
    ) -> Result<Self, SignatureError> {
        let mut times = elements(header).filter(|(scheme, _)| *scheme == b"t");
        let (Some((_, time)), None) = (times.next(), times.next()) else {
            return Err(SignatureError::NoTime);
        };
        let seconds = canonical_decimal(time).ok_or(SignatureError::NoTime)?;
        if signatures(header).next().is_none() {
            return Err(SignatureError::NoSignature);
        }
        if now.abs_diff(seconds) > tolerance_secs {
            return Err(SignatureError::OutsideTolerance);
        }
        Ok(Self { time, header })
    }

    /// Verifies the header against the body's bytes.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] when no signature was made with one of the secrets.
    pub fn verify(&self, body: &[u8], secrets: &Secrets) -> Result<(), SignatureError> {
        for secret in &secrets.0 {
            let expected = mac(secret, self.time, body);
            if signatures(self.header).any(|found| expected.clone().verify_slice(&found).is_ok()) {
                return Ok(());
            }
        }
        Err(SignatureError::Mismatch)
    }
}

/// The elements `scheme=value` of the header; an element without `=` is ignored.
fn elements(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.split(|byte| *byte == b',').filter_map(|element| {
        let at = element.iter().position(|byte| *byte == b'=')?;
        Some((&element[..at], &element[at + 1..]))
    })
}

/// The signatures of scheme `v1`; one that cannot be decoded is ignored.
fn signatures(header: &[u8]) -> impl Iterator<Item = [u8; 32]> {
    elements(header).filter(|(scheme, _)| *scheme == b"v1").filter_map(|(_, value)| decode(value))
}

fn mac(secret: &str, time: &[u8], body: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(time);
    mac.update(b".");
    mac.update(body);
    mac
}

fn decode(value: &[u8]) -> Option<[u8; 32]> {
    let mut signature = [0; 32];
    hex::decode_to_slice(value, &mut signature).ok().map(|()| signature)
}

/// Accepts only canonical decimal: `007`, `+7` and `7 ` are other texts, and the text was signed.
fn canonical_decimal(value: &[u8]) -> Option<i64> {
    let text = str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number >= 0 && number.to_string() == text).then_some(number)
}

fn check(secret: &str) -> Result<(), MalformedSecrets> {
    if secret.is_empty() {
        return Err(MalformedSecrets::Empty);
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(MalformedSecrets::Unprintable);
    }
    if ["sk_", "rk_", "pk_"].iter().any(|prefix| secret.starts_with(prefix)) {
        return Err(MalformedSecrets::ApiKey);
    }
    Ok(())
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} hidden)", self.0.len())
    }
}

#[cfg(test)]
#[path = "tests/signature.rs"]
mod tests;
