//! The schedule of the periodic jobs.
//!
//! Each job has a period, runs once at a time, and waits for no other job. When a job is due, only
//! one caller gets it. A run that never ended (at the edge the request that it belongs to may run
//! out of time) counts as lost after a while, and the job can run again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use driftlock_domain::config::Config;
use driftlock_domain::time::Timestamp;

use crate::shared::Shared;

/// A periodic job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Writes queued audit rows.
    AuditRows,
    /// Renews leases and gives them back, voids settlements of unknown outcome.
    Leases,
    /// Writes when keys were last used.
    KeyUses,
    /// Processes Stripe's events.
    Events,
    /// Sends usage reports to Stripe.
    Reports,
    /// Compares billing state and usage with Stripe.
    Reconciliation,
    /// Checks the callers of open streams.
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

    /// After how long a run that has not ended counts as lost.
    const fn lost_after(self) -> Duration {
        match self {
            Self::AuditRows | Self::Leases | Self::KeyUses | Self::Streams => {
                Duration::from_secs(30)
            }
            Self::Events | Self::Reports | Self::Reconciliation => Duration::from_secs(3_600),
        }
    }
}

/// A lease lives for two seconds and is renewed within the last second.
const LEASES_EVERY: Duration = Duration::from_millis(100);

/// When each job is due, and since when it has been running, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    due: [AtomicI64; Job::ALL.len()],
    since: [AtomicI64; Job::ALL.len()],
}

/// A running job. Drop it when the job ends.
pub(crate) struct Running {
    shared: Arc<Shared>,
    job: Job,
    since: i64,
}

impl Drop for Running {
    fn drop(&mut self) {
        // If this run counted as lost and another one has begun, `since` belongs to that one.
        let since = &self.shared.schedule.since[self.job as usize];
        let _ = since.compare_exchange(self.since, 0, Ordering::Release, Ordering::Relaxed);
    }
}

impl Schedule {
    /// Whether a job is due. A caller that gets `true` has to run it. At first all jobs are due.
    pub(crate) fn is_due(&self, job: Job, period: Duration, now: Timestamp) -> bool {
        let place = &self.due[job as usize];
        let due = place.load(Ordering::Relaxed);
        if now.micros() < due {
            return false;
        }
        // The next time counts from when the job was due, so that a late run does not delay
        // the next one. Missed runs are not repeated.
        let in_rhythm = Timestamp::from_micros(due).plus(period);
        let next = if in_rhythm > now { in_rhythm } else { now.plus(period) };
        let swapped =
            place.compare_exchange(due, next.micros(), Ordering::Relaxed, Ordering::Relaxed);
        swapped.is_ok()
    }

    /// How long until the next job is due.
    pub(crate) fn wait(&self, now: Timestamp) -> Duration {
        let next = self.due.iter().map(|due| due.load(Ordering::Relaxed)).min().unwrap_or(0);
        Timestamp::from_micros(next).since(now).max(WAIT_MIN)
    }
}

/// The resolution of a host's timers.
const WAIT_MIN: Duration = Duration::from_millis(1);

impl Shared {
    /// Begins a job, unless it is running already.
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
    fn a_job_keeps_its_rhythm_and_does_not_repeat_missed_runs() {
        let at = |millis: i64| Timestamp::from_micros(1_800_000_000_000_000 + millis * 1_000);
        let (schedule, period) = (Schedule::default(), Duration::from_millis(100));
        let due = |millis| schedule.is_due(Job::Leases, period, at(millis));
        assert!(due(0) && !due(0) && !due(99) && due(103));
        assert!(!due(199) && due(200), "a late run does not delay the next one");
        assert!(due(950) && !due(1_000) && due(1_050), "missed runs are not repeated");
    }
}
