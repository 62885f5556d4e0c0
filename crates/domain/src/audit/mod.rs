//! The audit log of an organization: a hash chain (I9).
//!
//! Each entry's hash covers its number, all its fields and the hash before it, so that changing,
//! dropping or reordering a row is found by walking the chain; cutting the tail off is found
//! against a head that an export stated.

mod retention;
mod revocation;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::time::Timestamp;

pub use retention::Pruned;
pub use revocation::{KEY_REVOKE, KEY_ROTATE};

/// The hash before the first entry.
pub const GENESIS: AuditHash = AuditHash([0; 32]);

/// SHA-256 of an entry; 64 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditHash(pub [u8; 32]);

/// What is to be entered, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When it happened.
    pub at: Timestamp,
    /// Who did it: a key's id, `admin`, or `system`.
    pub actor: Arc<str>,
    /// What was done: `request`, `key.create`, ….
    pub action: Arc<str>,
    /// To what: a route, a key's id, ….
    pub resource: Arc<str>,
    /// What came of it: a status, `ok`, or a denial's code.
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
    /// What was entered.
    #[serde(flatten)]
    pub record: AuditRecord,
    /// The hash of the entry before it.
    pub prev_hash: AuditHash,
    /// Its own.
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

/// What walking a chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether every link holds.
    pub ok: bool,
    /// Entries walked.
    pub entries: u64,
    /// The end that was reached.
    pub head: AuditHead,
    /// Where the walk began: what retention removed last, or before the first entry.
    pub checkpoint: AuditHead,
    /// The first entry that does not follow from the one before it.
    pub first_bad_seq: Option<u64>,
}

impl AuditHead {
    /// The end of an empty chain.
    pub const EMPTY: Self = Self { seq: 0, hash: GENESIS };

    /// Appends a record.
    #[must_use]
    pub fn append(&mut self, record: AuditRecord) -> AuditEntry {
        let seq = self.seq + 1;
        let hash = entry_hash(seq, &record, &self.hash);
        let entry = AuditEntry { seq, record, prev_hash: self.hash, hash };
        *self = Self { seq, hash };
        entry
    }
}

/// Walks a chain, entry by entry, so that a log of any length is verified in constant memory.
#[derive(Debug)]
pub struct Verifier {
    checkpoint: AuditHead,
    /// The checkpoint that the entries name last.
    named: Option<AuditHead>,
    head: AuditHead,
    entries: u64,
    first_bad_seq: Option<u64>,
    stated: Option<AuditHead>,
    stated_met: bool,
}

impl Verifier {
    /// Starts after `from` ([`AuditHead::EMPTY`], or a retention checkpoint); a `stated` head must
    /// be met on the way.
    #[must_use]
    pub fn new(from: AuditHead, stated: Option<AuditHead>) -> Self {
        let stated_met = stated.is_none_or(|head| head == from);
        Self {
            checkpoint: from,
            named: None,
            head: from,
            entries: 0,
            first_bad_seq: None,
            stated,
            stated_met,
        }
    }

    /// Takes the next entry in order of number.
    pub fn step(&mut self, entry: &AuditEntry) {
        self.entries += 1;
        let follows = entry.seq == self.head.seq + 1
            && entry.prev_hash == self.head.hash
            && entry.hash == entry_hash(entry.seq, &entry.record, &entry.prev_hash);
        if !follows && self.first_bad_seq.is_none() {
            self.first_bad_seq = Some(entry.seq);
        }
        self.named = retention::named(&entry.record).or(self.named);
        self.head = AuditHead { seq: entry.seq, hash: entry.hash };
        if self.stated == Some(self.head) {
            self.stated_met = true;
        }
    }

    /// The verdict at the end of the walk.
    #[must_use]
    pub fn finish(self) -> Verdict {
        let missing = match self.stated {
            Some(stated) if !self.stated_met => Some(stated.seq),
            Some(_) | None => None,
        };
        let whole = self.checkpoint == AuditHead::EMPTY || self.named == Some(self.checkpoint);
        let moved = (!whole).then_some(self.checkpoint.seq);
        let first_bad_seq = self.first_bad_seq.or(moved).or(missing);
        let (ok, Self { checkpoint, entries, head, .. }) = (first_bad_seq.is_none(), self);
        Verdict { ok, entries, head, checkpoint, first_bad_seq }
    }
}

fn entry_hash(seq: u64, record: &AuditRecord, prev: &AuditHash) -> AuditHash {
    let mut hasher = Sha256::new();
    hasher.update(prev.0);
    hasher.update(seq.to_be_bytes());
    hasher.update(record.at.micros().to_be_bytes());
    let AuditRecord { at: _, actor, action, resource, outcome, request_id, ip, details } = record;
    for field in [actor, action, resource, outcome, request_id, ip, details] {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field.as_bytes());
    }
    AuditHash(hasher.finalize().into())
}

/// Details are kept as text, since the hash covers every byte, and shown as the object they are.
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

    /// Text that is no head of the form `SEQ:HASH`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    #[error("not SEQ:HASH (a number, a colon, 64 hex digits)")]
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
            Ok(Self { seq, hash: hash.parse()? })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: &str) -> AuditRecord {
        AuditRecord {
            at: Timestamp::from_secs(1),
            actor: "admin".into(),
            action: "key.create".into(),
            resource: "key_1".into(),
            outcome: outcome.into(),
            request_id: "r".into(),
            ip: "".into(),
            details: "{}".into(),
        }
    }

    fn chain(length: usize) -> Vec<AuditEntry> {
        let mut head = AuditHead::EMPTY;
        (0..length).map(|i| head.append(record(&i.to_string()))).collect()
    }

    fn verify(entries: &[AuditEntry], stated: Option<AuditHead>) -> Verdict {
        let mut verifier = Verifier::new(AuditHead::EMPTY, stated);
        entries.iter().for_each(|entry| verifier.step(entry));
        verifier.finish()
    }

    #[test]
    fn an_untouched_chain_holds() {
        let entries = chain(5);
        let verdict = verify(&entries, None);
        assert!(verdict.ok);
        assert_eq!((verdict.entries, verdict.head.seq), (5, 5));
        let head = format!("{}:{}", verdict.head.seq, verdict.head.hash);
        assert_eq!(head.parse(), Ok(verdict.head));
    }

    #[test]
    fn changing_dropping_and_reordering_are_found() {
        let mut changed = chain(5);
        changed[2].record.outcome = "denied".into();
        assert_eq!(verify(&changed, None).first_bad_seq, Some(3));
        let mut dropped = chain(5);
        dropped.remove(1);
        assert_eq!(verify(&dropped, None).first_bad_seq, Some(3));
        let mut swapped = chain(5);
        swapped.swap(1, 2);
        assert_eq!(verify(&swapped, None).first_bad_seq, Some(3));
    }

    #[test]
    fn a_cut_or_rewritten_log_is_found_against_a_stated_head() {
        let entries = chain(5);
        let head = verify(&entries, None).head;
        assert!(!verify(&entries[..4], Some(head)).ok);
        let mut rewritten = AuditHead::EMPTY;
        let forged: Vec<_> = (0..5).map(|_| rewritten.append(record("forged"))).collect();
        assert!(verify(&forged, None).ok, "a whole rewrite is consistent in itself");
        assert!(!verify(&forged, Some(head)).ok, "but does not meet the stated head");
        assert!(verify(&entries, Some(head)).ok);
    }
}
