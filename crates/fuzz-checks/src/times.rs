//! Instants: every instant has a text, and parsing that text yields the same instant.

use driftlock_domain::time::Timestamp;

/// # Panics
/// If an instant has no text, or its text is parsed as another instant.
pub fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(at) = Timestamp::parse(text)
    {
        same(at);
    }
    let mut eight = [0; 8];
    bytes.iter().zip(&mut eight).for_each(|(from, to)| *to = *from);
    // Numbers from stores and Stripe may be out of range: they are shown as the nearest instant.
    let at = Timestamp::from_micros(i64::from_le_bytes(eight));
    let shown = Timestamp::parse(&at.to_string()).expect("every instant has a text");
    same(shown);
    assert!(shown == at || Timestamp::parse(&shown.to_string()) == Ok(shown));
    let hour = at.floor_to(3_600);
    assert!(hour <= at || at.secs() == hour.secs(), "{at:?}");
}

fn same(at: Timestamp) {
    assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
    let json = serde_json::to_string(&at).expect("an instant is a text");
    assert_eq!(serde_json::from_str::<Timestamp>(&json).ok(), Some(at));
}
