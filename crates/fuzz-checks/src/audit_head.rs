//! `SEQ:HASH`, the head of an audit log that a person enters.

use driftlock_domain::audit::AuditHead;

/// # Panics
/// If a head that was parsed is written differently.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(head) = text.parse::<AuditHead>() else { return };
    assert_eq!(head.to_string().parse(), Ok(head));
    let spelled = text.trim_start_matches(['+', '0']).to_ascii_lowercase();
    let canonical = head.to_string();
    assert!(spelled == canonical.trim_start_matches('0'), "{text} is not {canonical}");
}
