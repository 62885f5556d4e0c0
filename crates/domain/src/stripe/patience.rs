//! How long an event is retried that cannot be processed yet, for example because its customer is
//! not linked to an organization or Stripe does not answer.
//!
//! Time decides, not the number of attempts: each delivery retries all waiting events of its
//! customer, so a burst of deliveries makes hundreds of attempts within seconds.

use std::time::Duration;

use super::file::Postponed;
use crate::time::Timestamp;

/// An event is retried for as long as Stripe itself repeats a delivery: three days since it was
/// received, or since an operator replayed it.
pub const PATIENCE: Duration = Duration::from_secs(3 * 86_400);
const WAIT_MIN: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

impl Postponed {
    /// Events that wait since these instants are retried later; those that have waited for
    /// [`PATIENCE`] become dead letters. The youngest event decides when, since a new event may
    /// have changed the situation. `random` spreads the retries.
    #[must_use]
    pub fn retried(
        error: String,
        waiting_since: impl IntoIterator<Item = Timestamp>,
        now: Timestamp,
        random: u64,
    ) -> Self {
        let youngest = waiting_since.into_iter().max().unwrap_or(now);
        let until = now.plus(wait(now.since(youngest), random));
        Self { error, until, give_up_since: now.minus(PATIENCE) }
    }

    /// The event becomes a dead letter at once, since no retry can succeed.
    #[must_use]
    pub const fn given_up(error: String, now: Timestamp) -> Self {
        Self { error, until: now, give_up_since: Timestamp::MAX }
    }

    /// Whether an event that waits since this instant becomes a dead letter.
    #[must_use]
    pub fn gives_up(&self, waiting_since: Timestamp) -> bool {
        waiting_since <= self.give_up_since
    }
}

/// The wait before the next attempt: up to as long as the event has waited already, and at least
/// half of that, so that attempts become rarer.
fn wait(waited: Duration, random: u64) -> Duration {
    let whole = waited.clamp(WAIT_MIN, WAIT_MAX);
    let half = whole / 2;
    let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
    half + Duration::from_millis(random % (spread + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn ago(secs: u64) -> Timestamp {
        NOW.minus(Duration::from_secs(secs))
    }

    fn retried(since: &[Timestamp], random: u64) -> Postponed {
        Postponed::retried("unlinked".into(), since.iter().copied(), NOW, random)
    }

    #[test]
    fn an_event_waits_for_three_days_however_often_it_was_tried() {
        let postponed = retried(&[ago(1)], 0);
        assert!(!postponed.gives_up(ago(3 * 86_400 - 1)));
        assert!(postponed.gives_up(ago(3 * 86_400)));
        assert!(postponed.until > NOW);
        let permanent = Postponed::given_up("no charge".into(), NOW);
        assert!(permanent.gives_up(NOW) && permanent.gives_up(NOW.plus(PATIENCE)));
    }

    #[test]
    fn tries_grow_rarer_and_the_youngest_event_decides() {
        for (waited, whole) in [(0, 2), (10, 10), (300, 300), (86_400, 900)] {
            for random in [0, 1, 12_345, u64::MAX] {
                let wait = retried(&[ago(200_000), ago(waited)], random).until.since(NOW);
                let whole = Duration::from_secs(whole);
                assert!(wait >= whole / 2 && wait <= whole, "{waited}: {wait:?}");
            }
        }
        assert_ne!(retried(&[ago(300)], 1).until, retried(&[ago(300)], 9_999).until);
    }
}
