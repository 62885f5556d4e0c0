//! Stripe's events: parsed completely or refused.

use driftlock_domain::stripe::event::Event;

/// # Panics
/// If a parsed event has no usable id, or reading its subject panics.
pub fn check(bytes: &[u8]) {
    let Ok(event) = Event::parse(bytes) else { return };
    assert!((1..=255).contains(&event.id.len()), "{:?}", event.id);
    let subject = event.subject();
    let _ = (subject.subscription(), subject.customer(), subject.organization());
    let _ = event.before();
    let again = Event::parse(bytes);
    assert!(again.is_ok_and(|again| again.id == event.id && again.kind == event.kind));
}
