//! The audit log of an organization: a hash chain (I9).
//!
//! Each entry's hash covers its number, all its fields and the previous entry's hash, so that
//! verifying the chain detects a changed, dropped or moved row. A log whose end was cut off is
//! detected by comparison with the head that an export stated. The hash before the first entry is
//! computed from the organization's id, so that the chain of another organization is detected.

mod retention;
mod revocation;
mod verify;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::OrganizationId;
use crate::time::Timestamp;

pub use retention::{Pruned, Retention};
pub use revocation::{KEY_REVOKE, KEY_ROTATE};
pub use verify::{Problem, Verdict, Verifier};

/// The text that the hash before the first entry covers, together with the organization's id.
const GENESIS: &[u8] = b"driftlock audit chain ";

/// SHA-256 of an entry; 64 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditHash(pub [u8; 32]);

/// The content of an entry, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When it happened.
    pub at: Timestamp,
    /// The actor: a key's id, `admin`, or `system`.
    pub actor: Arc<str>,
    /// The action: `request`, `key.create`, ….
    pub action: Arc<str>,
    /// The resource that the action concerns: a route, a key's id, ….
    pub resource: Arc<str>,
    /// The outcome: a status, `ok`, or a denial's code.
    pub outcome: Arc<str>,
    /// The request's id.
    pub request_id: Arc<str>,
    /// The client's address, where there is one.
    pub ip: Arc<str>,
    /// A JSON object as compact text, members sorted by name; no secrets.
    #[serde(with = "details")]
    pub details: Arc<str>,
}

/// An entry with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// Its content.
    #[serde(flatten)]
    pub record: AuditRecord,
    /// The hash of the previous entry.
    pub prev_hash: AuditHash,
    /// Its own hash.
    pub hash: AuditHash,
}

/// The end of a chain; `SEQ:HASH` as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// The last entry's number; 0 for an empty chain.
    pub seq: u64,
    /// The last entry's hash.
    pub hash: AuditHash,
}

impl AuditHead {
    /// The end of an organization's empty chain.
    #[must_use]
    pub fn empty(organization: OrganizationId) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(GENESIS);
        hasher.update(organization.as_bytes());
        Self { seq: 0, hash: AuditHash(hasher.finalize().into()) }
    }

    /// Appends a record.
    #[must_use]
    pub fn append(&mut self, record: AuditRecord) -> AuditEntry {
        let seq = self.seq + 1;
        let hash = entry_hash(seq, record.at, &content_hash(&record), &self.hash);
        let entry = AuditEntry { seq, record, prev_hash: self.hash, hash };
        *self = Self { seq, hash };
        entry
    }
}

/// The hash of all fields of a record except its time.
fn content_hash(record: &AuditRecord) -> AuditHash {
    let mut hasher = Sha256::new();
    let AuditRecord { at: _, actor, action, resource, outcome, request_id, ip, details } = record;
    for field in [actor, action, resource, outcome, request_id, ip, details] {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field.as_bytes());
    }
    AuditHash(hasher.finalize().into())
}

/// The hash of an entry. It covers the hash of the content, not the content itself, so that the
/// time of a removed entry can be proven by hashes alone.
fn entry_hash(seq: u64, at: Timestamp, content: &AuditHash, prev: &AuditHash) -> AuditHash {
    let mut hasher = Sha256::new();
    hasher.update(prev.0);
    hasher.update(seq.to_be_bytes());
    hasher.update(at.micros().to_be_bytes());
    hasher.update(content.0);
    AuditHash(hasher.finalize().into())
}

/// Details are stored as text, since the hash covers every byte, and serialized as a JSON object.
mod details {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<Value>(text) {
            Ok(object) => object.serialize(serializer),
            Err(_) => serializer.serialize_str(text),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<str>, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(text.into()),
            object => Ok(object.to_string().into()),
        }
    }
}

mod text {
    use std::fmt;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{AuditHash, AuditHead};

    impl fmt::Display for AuditHash {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&hex::encode(self.0))
        }
    }

    impl fmt::Debug for AuditHash {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }

    /// The greatest number of an entry: stores keep it in 63 bits.
    const SEQ_MAX: u64 = i64::MAX.unsigned_abs();

    /// Text that is not a head of the form `SEQ:HASH`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    #[error("not SEQ:HASH (a number below 2^63, a colon, 64 hex digits)")]
    pub struct MalformedHead;

    impl FromStr for AuditHash {
        type Err = MalformedHead;

        fn from_str(text: &str) -> Result<Self, MalformedHead> {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes).map_err(|_| MalformedHead)?;
            Ok(Self(bytes))
        }
    }

    impl FromStr for AuditHead {
        type Err = MalformedHead;

        fn from_str(text: &str) -> Result<Self, MalformedHead> {
            let (seq, hash) = text.split_once(':').ok_or(MalformedHead)?;
            let seq = seq.parse().map_err(|_| MalformedHead)?;
            // No store can have an entry with a greater number.
            if seq > SEQ_MAX { Err(MalformedHead) } else { Ok(Self { seq, hash: hash.parse()? }) }
        }
    }

    impl fmt::Display for AuditHead {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}:{}", self.seq, self.hash)
        }
    }

    impl Serialize for AuditHead {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for AuditHead {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        }
    }

    impl Serialize for AuditHash {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for AuditHash {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        }
    }
}

pub use text::MalformedHead;
