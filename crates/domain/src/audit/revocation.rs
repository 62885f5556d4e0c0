//! Which key an audit record revokes. A Durable Object keeps the chain, but not the directory. It
//! reads from the audit record of a revocation which key it has to refuse.

use std::time::Duration;

use serde::Deserialize;

use super::AuditRecord;
use crate::id::KeyId;

/// The action of revoking a key.
pub const KEY_REVOKE: &str = "key.revoke";
/// The action of replacing a key, which is revoked after the grace time in the details.
pub const KEY_ROTATE: &str = "key.rotate";

/// The needed part of the details of [`KEY_ROTATE`].
#[derive(Deserialize)]
struct Rotation {
    grace_seconds: u64,
}

impl AuditRecord {
    /// The key that the record revokes, and how long after the record's time.
    #[must_use]
    pub fn revokes(&self) -> Option<(KeyId, Duration)> {
        let grace = match &*self.action {
            KEY_REVOKE => 0,
            KEY_ROTATE => serde_json::from_str::<Rotation>(&self.details).ok()?.grace_seconds,
            _ => return None,
        };
        Some((self.resource.parse().ok()?, Duration::from_secs(grace)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn record(action: &str, details: &str) -> AuditRecord {
        AuditRecord {
            at: Timestamp::from_secs(1_800_000_000),
            actor: "admin".into(),
            action: action.into(),
            resource: KeyId::from_bytes([7; 16]).to_string().into(),
            outcome: "ok".into(),
            request_id: "r".into(),
            ip: "192.0.2.1".into(),
            details: details.into(),
        }
    }

    #[test]
    fn revocations_and_rotations_revoke() {
        let key = KeyId::from_bytes([7; 16]);
        let revoked = record(KEY_REVOKE, r#"{"prefix":"dlk_ab"}"#).revokes();
        assert_eq!(revoked, Some((key, Duration::ZERO)));
        let rotated = record(KEY_ROTATE, r#"{"grace_seconds":90,"successor":"key_1"}"#).revokes();
        assert_eq!(rotated, Some((key, Duration::from_secs(90))));
    }

    #[test]
    fn nothing_else_does() {
        assert_eq!(record("key.create", "{}").revokes(), None);
        assert_eq!(record(KEY_ROTATE, "{}").revokes(), None);
        let other = AuditRecord { resource: "org_1".into(), ..record(KEY_REVOKE, "{}") };
        assert_eq!(other.revokes(), None);
    }
}
