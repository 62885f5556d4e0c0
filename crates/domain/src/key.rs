//! API keys: their form, their hash, and what a key's record allows.
//!
//! A key is `dlk_`, 30 base62 characters of entropy, and 6 of CRC-32 over those 30: a mistyped key
//! is refused without a look-up. Keys of any other form are looked up, too, so that keys issued
//! before this gateway keep working. Stores keep only the SHA-256; the secret is shown once.

use std::fmt;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::address;
use crate::id::{KeyId, OrganizationId};
use crate::time::Timestamp;

/// The beginning of every key that the gateway creates.
pub const KEY_PREFIX: &str = "dlk_";
/// How many characters of a key are stored, so that people can recognize it.
pub const SHOWN_CHARS: usize = 12;
const RANDOM_CHARS: usize = 30;
const CHECKSUM_CHARS: usize = 6;
const PRESENTED_CHARS_MAX: usize = 512;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// SHA-256 of a key. Stores keep it instead of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// 64 lower-case hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Parses 64 hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// A key in full, as its owner has it. It has no `Display`, and its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeySecret(String);

impl ApiKeySecret {
    /// A new key. `entropy` is 32 unpredictable bytes; 30 characters carry 178 bits of them.
    #[must_use]
    pub fn mint(entropy: [u8; 32]) -> Self {
        let mut text = String::with_capacity(KEY_PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS);
        text.push_str(KEY_PREFIX);
        let mut digits = entropy;
        for _ in 0..RANDOM_CHARS {
            text.push(char::from(BASE62[usize::from(divide_by_62(&mut digits))]));
        }
        let checksum = checksum(&text.as_bytes()[KEY_PREFIX.len()..]);
        text.extend(checksum.map(char::from));
        Self(text)
    }

    /// The key itself, for the one response that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that stores keep.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The first characters, by which people recognize the key.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.0.get(..SHOWN_CHARS).unwrap_or_default()
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeySecret(…)")
    }
}

/// Why no key could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedKey {
    /// No `Authorization` header, or more than one.
    #[error("no single Authorization header")]
    Missing,
    /// Another scheme than Bearer.
    #[error("the Authorization header's scheme is not Bearer")]
    Scheme,
    /// Not a token, or longer than any key.
    #[error("the key is not a token of 1 to 512 visible characters")]
    Form,
    /// A key that begins with `dlk_` and has a wrong checksum: mistyped, or cut off.
    #[error("the key's checksum is wrong")]
    Checksum,
}

/// A key that a request presented: only its hash is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentedKey {
    hash: KeyHash,
}

impl PresentedKey {
    /// Parses `Authorization: Bearer KEY` (RFC 6750, section 2.1).
    ///
    /// # Errors
    /// [`MalformedKey`] when there is no key that could be valid.
    pub fn parse(headers: &HeaderMap) -> Result<Self, MalformedKey> {
        let token = bearer(headers)?;
        if let Some(body) = token.strip_prefix(KEY_PREFIX.as_bytes()) {
            let (random, found) =
                body.split_at_checked(RANDOM_CHARS).ok_or(MalformedKey::Checksum)?;
            if found != checksum(random) {
                return Err(MalformedKey::Checksum);
            }
        }
        Ok(Self { hash: KeyHash(Sha256::digest(token).into()) })
    }

    /// The hash to look up.
    #[must_use]
    pub const fn hash(&self) -> KeyHash {
        self.hash
    }
}

/// The token of the one `Authorization: Bearer` header.
///
/// # Errors
/// [`MalformedKey`] when there is none.
pub fn bearer(headers: &HeaderMap) -> Result<&[u8], MalformedKey> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(MalformedKey::Missing)?.as_bytes();
    if values.next().is_some() {
        return Err(MalformedKey::Missing);
    }
    let (scheme, rest) = value.split_at_checked(7).ok_or(MalformedKey::Scheme)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(MalformedKey::Scheme);
    }
    let token = rest.trim_ascii();
    if token.is_empty()
        || token.len() > PRESENTED_CHARS_MAX
        || !token.iter().all(u8::is_ascii_graphic)
    {
        return Err(MalformedKey::Form);
    }
    Ok(token)
}

/// A key's record in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// The organization that owns it.
    #[serde(rename = "organization_id")]
    pub organization: OrganizationId,
    /// A name for people; 1 to 200 characters.
    pub name: String,
    /// The first characters of the secret.
    pub prefix: String,
    /// The scopes that it has; `*` stands for all.
    pub scopes: Vec<String>,
    /// Its requests per minute; without a value, its plan's limit applies.
    pub requests_per_minute: Option<u32>,
    /// Addresses from which it may be used; any, when empty.
    pub ip_allow: Vec<IpNet>,
    /// When it expires: from then on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it is revoked: from then on it is refused. A rotation sets a time in the future.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Why a known key may not do this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyDenial {
    /// Revoked.
    #[error("the key is revoked")]
    Revoked,
    /// Expired.
    #[error("the key has expired")]
    Expired,
    /// Not from this address.
    #[error("the key may not be used from this address")]
    AddressNotAllowed,
    /// It lacks the route's scope.
    #[error("the key lacks the route's scope")]
    ScopeMissing,
}

impl KeyDenial {
    /// The stable code of the problem type.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Revoked => "key-revoked",
            Self::Expired => "key-expired",
            Self::AddressNotAllowed => "address-not-allowed",
            Self::ScopeMissing => "scope-missing",
        }
    }
}

impl KeyRecord {
    /// Whether the key may be used now, from this address, for this scope.
    ///
    /// # Errors
    /// [`KeyDenial`]: revocation before expiry, then the address, then the scope.
    pub fn check(&self, now: Timestamp, ip: IpAddr, scope: Option<&str>) -> Result<(), KeyDenial> {
        if self.revoked_at.is_some_and(|at| at <= now) {
            return Err(KeyDenial::Revoked);
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(KeyDenial::Expired);
        }
        let allowed = |net| address::holds(net, ip);
        if !self.ip_allow.is_empty() && !self.ip_allow.iter().any(allowed) {
            return Err(KeyDenial::AddressNotAllowed);
        }
        match scope {
            Some(wanted) if !self.scopes.iter().any(|scope| scope == wanted || scope == "*") => {
                Err(KeyDenial::ScopeMissing)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Divides a big-endian number by 62 in place and returns the remainder.
fn divide_by_62(digits: &mut [u8; 32]) -> u8 {
    let mut rest = 0_u16;
    for digit in digits {
        let value = rest << 8 | u16::from(*digit);
        *digit = u8::try_from(value / 62).unwrap_or(u8::MAX);
        rest = value % 62;
    }
    u8::try_from(rest).unwrap_or(0)
}

fn checksum(random: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut value = crc32fast::hash(random);
    let mut text = [b'0'; CHECKSUM_CHARS];
    for place in text.iter_mut().rev() {
        *place = BASE62[(value % 62) as usize];
        value /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn presented(value: &str) -> Result<PresentedKey, MalformedKey> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("a header"));
        PresentedKey::parse(&headers)
    }

    fn record() -> KeyRecord {
        KeyRecord {
            id: KeyId::from_bytes([1; 16]),
            organization: OrganizationId::from_bytes([2; 16]),
            name: "ci".into(),
            prefix: "dlk_00000000".into(),
            scopes: vec!["anomalies:read".into()],
            requests_per_minute: None,
            ip_allow: Vec::new(),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            created_at: Timestamp::from_secs(0),
        }
    }

    #[test]
    fn a_minted_key_is_presented_and_found() {
        let key = ApiKeySecret::mint([42; 32]);
        assert_eq!(key.expose().len(), 40);
        assert!(key.expose().starts_with(key.shown()));
        let found = presented(&format!("Bearer {}", key.expose())).expect("valid");
        assert_eq!(found.hash(), key.hash());
        assert_eq!(KeyHash::from_hex(&key.hash().hex()), Some(key.hash()));
        assert!(!format!("{key:?}{:?}", key.hash()).contains(key.shown()));
    }

    #[test]
    fn checksums_have_leading_zeros() {
        assert_eq!(checksum(b"000000000000000000000000000000").len(), 6);
        assert_eq!(&checksum(b""), b"000000", "CRC-32 of nothing is 0");
        // The check value of CRC-32 is 0xCBF43926 (3421780262).
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
    }

    #[test]
    fn each_malformed_key_has_its_error() {
        let key = ApiKeySecret::mint([7; 32]);
        let mut mistyped = key.expose().to_owned();
        mistyped.replace_range(10..11, if &mistyped[10..11] == "a" { "b" } else { "a" });
        assert_eq!(PresentedKey::parse(&HeaderMap::new()), Err(MalformedKey::Missing));
        assert_eq!(presented("Basic abc"), Err(MalformedKey::Scheme));
        assert_eq!(presented("Bearer "), Err(MalformedKey::Form));
        assert_eq!(presented("Bearer a b"), Err(MalformedKey::Form));
        assert_eq!(presented("Bearer dlk_short"), Err(MalformedKey::Checksum));
        assert_eq!(presented(&format!("Bearer {mistyped}")), Err(MalformedKey::Checksum));
        assert!(presented("bearer sk_live_of_another_form").is_ok());
    }

    #[test]
    fn a_record_decides() {
        let (now, ip) = (Timestamp::from_secs(100), "192.0.2.7".parse().expect("an address"));
        let check = |record: &KeyRecord, scope| record.check(now, ip, scope);
        assert_eq!(check(&record(), Some("anomalies:read")), Ok(()));
        assert_eq!(check(&record(), None), Ok(()));
        assert_eq!(check(&record(), Some("events:write")), Err(KeyDenial::ScopeMissing));
        let revoked = KeyRecord { revoked_at: Some(now), ..record() };
        assert_eq!(check(&revoked, None), Err(KeyDenial::Revoked));
        let in_grace = KeyRecord { revoked_at: Some(Timestamp::from_secs(101)), ..record() };
        assert_eq!(check(&in_grace, None), Ok(()));
        let expired = KeyRecord { expires_at: Some(now), ..record() };
        assert_eq!(check(&expired, None), Err(KeyDenial::Expired));
    }

    #[test]
    fn addresses_match_by_network() {
        let nets = ["198.51.100.0/24", "2001:db8::/32", "::ffff:203.0.113.7/128"];
        let ip_allow = nets.iter().map(|net| net.parse().expect("a network")).collect();
        let key = KeyRecord { ip_allow, ..record() };
        for (ip, wanted) in [
            ("198.51.100.9", Ok(())),
            ("::ffff:198.51.100.9", Ok(())),
            ("2001:db8::1", Ok(())),
            ("203.0.113.7", Ok(())),
            ("::ffff:203.0.113.7", Ok(())),
            ("203.0.113.8", Err(KeyDenial::AddressNotAllowed)),
            ("198.51.101.9", Err(KeyDenial::AddressNotAllowed)),
            ("2001:db9::1", Err(KeyDenial::AddressNotAllowed)),
        ] {
            let ip = ip.parse().expect("an address");
            assert_eq!(key.check(Timestamp::from_secs(0), ip, None), wanted, "{ip}");
        }
    }

    proptest! {
        #[test]
        fn any_entropy_makes_a_valid_key(entropy: [u8; 32]) {
            let key = ApiKeySecret::mint(entropy);
            let header = format!("Bearer {}", key.expose());
            prop_assert!(presented(&header).is_ok());
        }

        #[test]
        fn no_header_panics(bytes in prop::collection::vec(32_u8..127, 0..80)) {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(&bytes).expect("visible"));
            let _ = PresentedKey::parse(&headers);
        }
    }
}
