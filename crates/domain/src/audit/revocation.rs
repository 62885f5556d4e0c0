//! Which key an audit record revokes: whoever keeps a chain apart from the directory (a Durable
//! Object) learns of it from the very row that was committed with the revocation, and refuses the
//! key itself.

use std::time::Duration;

use serde::Deserialize;

use super::AuditRecord;
use crate::id::KeyId;

/// A key is revoked.
pub const KEY_REVOKE: &str = "key.revoke";
/// A key is replaced, and is revoked once the grace time named in the details is over.
pub const KEY_ROTATE: &str = "key.rotate";

/// What [`KEY_ROTATE`] says in its details, as far as it matters here.
#[derive(Deserialize)]
struct Rotation {
    grace_seconds: u64,
}

impl AuditRecord {
    /// The key that it revokes, and how long after the record's time.
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
