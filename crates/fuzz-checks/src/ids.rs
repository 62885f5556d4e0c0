//! Ids: text and back, and no kind is accepted as another.

use driftlock_domain::id::{KeyId, OrganizationId, UsageId};

/// # Panics
/// If a parsed id is written differently, or a key's id is accepted as an organization's.
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
        // Only a bare UUID is an id of every kind.
        assert!(text.starts_with("key_") || organization.is_ok(), "{text}");
    }
    let mut sixteen = [0; 16];
    bytes.iter().zip(&mut sixteen).for_each(|(from, to)| *to = *from);
    let id = UsageId::from_bytes(sixteen);
    assert_eq!(id.to_string().parse(), Ok(id));
}
