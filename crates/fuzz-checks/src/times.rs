//! Instants: every one has a text, and what is written is read.

use driftlock_domain::time::Timestamp;

/// # Panics
/// If an instant cannot be written, or is read as another one.
pub fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(at) = Timestamp::parse(text)
    {
        same(at);
    }
    let mut eight = [0; 8];
    bytes.iter().zip(&mut eight).for_each(|(from, to)| *to = *from);
    // Stores and Stripe keep numbers, which may be any: those out of range are shown as the
    // nearest.
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
