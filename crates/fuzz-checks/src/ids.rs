//! Ids: what is written is read, and no kind passes for another.

use driftlock_domain::id::{KeyId, OrganizationId, UsageId};

/// # Panics
/// If an id that is read is written as another one, or a key's id is taken for an organization's.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let organization = text.parse::<OrganizationId>();
    if let Ok(id) = &organization {
        assert_eq!(id.to_string().parse().as_ref(), Ok(id));
        assert!(!text.starts_with("key_") && !text.starts_with("use_"), "{text}");
    }
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(!text.starts_with("org_"), "{text}");
        // A bare UUID, of 16 bytes and nothing else, is all that two kinds have in common.
        assert!(text.starts_with("key_") || organization.is_ok(), "{text}");
    }
    let mut sixteen = [0; 16];
    bytes.iter().zip(&mut sixteen).for_each(|(from, to)| *to = *from);
    let id = UsageId::from_bytes(sixteen);
    assert_eq!(id.to_string().parse(), Ok(id));
}
