//! When which job comes round, by the clock; each once at a time.
//!
//! Every job has a period of its own, and no job waits for another: whoever asks what is due gets
//! each due job once, and none that still runs. A job that was begun and never ended (at the edge
//! its request's time may run out) counts as lost after a while and comes round again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use driftlock_domain::config::Config;
use driftlock_domain::time::Timestamp;

use crate::shared::Shared;

/// What comes round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Queued audit rows are written.
    AuditRows,
    /// Leases are renewed and given back, unknown settlements voided.
    Leases,
    /// When keys were used is written.
    KeyUses,
    /// Stripe's events are processed.
    Events,
    /// Stripe is told of usage.
    Reports,
    /// Everything is compared with Stripe.
    Reconciliation,
    /// Open streams are judged again.
    Streams,
}

impl Job {
    pub(crate) const ALL: [Self; 7] = [
        Self::AuditRows,
        Self::Leases,
        Self::KeyUses,
        Self::Events,
        Self::Reports,
        Self::Reconciliation,
        Self::Streams,
    ];

    pub(crate) fn period(self, config: &Config) -> Duration {
        match self {
            Self::AuditRows => Duration::from_millis(config.audit.flush_ms),
            Self::Leases => LEASES_EVERY,
            Self::KeyUses | Self::Events => Duration::from_secs(1),
            Self::Streams => Duration::from_millis(config.keys.stream_check_ms),
            Self::Reports => Duration::from_secs(60),
            Self::Reconciliation => {
                Duration::from_secs(u64::from(config.stripe.reconcile_hours) * 3_600)
            }
        }
    }

    /// After how long a run that did not end is taken for lost.
    const fn lost_after(self) -> Duration {
        match self {
            Self::AuditRows | Self::Leases | Self::KeyUses | Self::Streams => {
                Duration::from_secs(30)
            }
            Self::Events | Self::Reports | Self::Reconciliation => Duration::from_secs(3_600),
        }
    }
}

/// A lease lives for two seconds and is renewed in the last of them.
const LEASES_EVERY: Duration = Duration::from_millis(100);

/// When each job is due, and since when it runs; in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    due: [AtomicI64; Job::ALL.len()],
    since: [AtomicI64; Job::ALL.len()],
}

/// A job that runs, until this is dropped.
pub(crate) struct Running {
    shared: Arc<Shared>,
    job: Job,
    since: i64,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Unless it was taken for lost, and another run has begun.
        let since = &self.shared.schedule.since[self.job as usize];
        let _ = since.compare_exchange(self.since, 0, Ordering::Release, Ordering::Relaxed);
    }
}

impl Schedule {
    /// Whether a job's time has come; whoever is told so runs it. All are due at the start.
    pub(crate) fn is_due(&self, job: Job, period: Duration, now: Timestamp) -> bool {
        let place = &self.due[job as usize];
        let due = place.load(Ordering::Relaxed);
        if now.micros() < due {
            return false;
        }
        // From when it was due, so that a late round makes the next one no later; but missed
        // rounds are not made up for.
        let in_rhythm = Timestamp::from_micros(due).plus(period);
        let next = if in_rhythm > now { in_rhythm } else { now.plus(period) };
        let swapped =
            place.compare_exchange(due, next.micros(), Ordering::Relaxed, Ordering::Relaxed);
        swapped.is_ok()
    }

    /// How long until something is due.
    pub(crate) fn wait(&self, now: Timestamp) -> Duration {
        let next = self.due.iter().map(|due| due.load(Ordering::Relaxed)).min().unwrap_or(0);
        Timestamp::from_micros(next).since(now).max(WAIT_MIN)
    }
}

/// A host's timers are no finer.
const WAIT_MIN: Duration = Duration::from_millis(1);

impl Shared {
    /// Begins a job, unless it runs already.
    pub(crate) fn begin(self: &Arc<Self>, job: Job, now: Timestamp) -> Option<Running> {
        let place = &self.schedule.since[job as usize];
        let known = place.load(Ordering::Relaxed);
        if known != 0 && now.since(Timestamp::from_micros(known)) < job.lost_after() {
            return None;
        }
        let since = now.micros().max(1);
        place.compare_exchange(known, since, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(Running { shared: Arc::clone(self), job, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_keeps_its_rhythm_and_makes_up_for_nothing() {
        let at = |millis: i64| Timestamp::from_micros(1_800_000_000_000_000 + millis * 1_000);
        let (schedule, period) = (Schedule::default(), Duration::from_millis(100));
        let due = |millis| schedule.is_due(Job::Leases, period, at(millis));
        assert!(due(0) && !due(0) && !due(99) && due(103));
        assert!(!due(199) && due(200), "a late round makes the next one no later");
        assert!(due(950) && !due(1_000) && due(1_050), "missed rounds are missed");
    }
}
