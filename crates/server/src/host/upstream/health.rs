//! Decides which of several backends get requests: those that did not fail several times in a row,
//! and whose health check succeeds, if one is configured. All cores share this state.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use driftlock_domain::config;
use driftlock_domain::response::UNTRUSTED_FOR;

/// The health of one backend.
#[derive(Debug)]
pub(crate) struct Health {
    began: Instant,
    eject_after: u32,
    eject: Duration,
    failures: AtomicU32,
    /// Until then the backend gets no requests; milliseconds since `began`.
    out_until: AtomicU64,
    /// Whether the last health check failed.
    ill: AtomicBool,
    /// Until then its connections rest after each answer; milliseconds since `began`.
    untrusted_until: AtomicU64,
}

impl Health {
    pub(super) fn new(backend: &config::Backend) -> Self {
        Self {
            began: Instant::now(),
            eject_after: backend.eject_after_failures,
            eject: Duration::from_millis(backend.eject_ms),
            failures: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            ill: AtomicBool::new(false),
            untrusted_until: AtomicU64::new(0),
        }
    }

    /// Whether the backend gets requests.
    pub(super) fn is_well(&self) -> bool {
        if self.ill.load(Ordering::Relaxed) {
            return false;
        }
        let out_until = self.out_until.load(Ordering::Relaxed);
        out_until == 0 || self.millis() >= out_until
    }

    /// The backend answered.
    pub(super) fn answered(&self) {
        // Read first: a write would invalidate the cache line of the other cores.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.out_until.store(0, Ordering::Relaxed);
        }
    }

    /// The backend did not answer. Returns whether this ejects it.
    pub(super) fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < self.eject_after {
            return false;
        }
        let was_well = self.is_well();
        let until = self.millis().saturating_add(millis(self.eject));
        self.out_until.store(until.max(1), Ordering::Relaxed);
        was_well
    }

    /// Records the result of a health check. Returns whether it differs from the last one.
    pub(super) fn checked(&self, well: bool) -> bool {
        if well {
            self.answered();
        }
        self.ill.swap(!well, Ordering::Relaxed) == well
    }

    /// The backend sent bytes that belong to no answer. Returns whether it was trusted before.
    pub(super) fn sent_stray_bytes(&self) -> bool {
        let was_trusted = self.is_trusted();
        let until = self.millis().saturating_add(millis(UNTRUSTED_FOR));
        self.untrusted_until.store(until, Ordering::Relaxed);
        was_trusted
    }

    /// Whether the backend recently sent no bytes besides its answers.
    pub(super) fn is_trusted(&self) -> bool {
        let until = self.untrusted_until.load(Ordering::Relaxed);
        until == 0 || self.millis() >= until
    }

    fn millis(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(eject_ms: u64) -> Health {
        let backend = config::Backend { eject_after_failures: 2, eject_ms, ..Default::default() };
        Health::new(&backend)
    }

    #[test]
    fn failures_in_a_row_eject_it() {
        let health = health(60_000);
        assert!(!health.failed());
        health.answered();
        assert!(!health.failed() && health.is_well(), "an answer in between resets the count");
        assert!(health.failed(), "the second in a row is news");
        assert!(!health.is_well());
        assert!(!health.failed(), "the third is none");
        health.answered();
        assert!(health.is_well(), "a backend that answers is healthy");
    }

    #[test]
    fn it_gets_requests_again_after_a_while() {
        let health = health(0);
        health.failed();
        assert!(health.failed());
        let began = Instant::now();
        while !health.is_well() {
            assert!(began.elapsed() < Duration::from_secs(5), "its time is over");
            std::thread::yield_now();
        }
    }

    #[test]
    fn stray_bytes_are_reported_once() {
        let health = health(60_000);
        assert!(health.is_trusted());
        assert!(health.sent_stray_bytes() && !health.is_trusted());
        assert!(!health.sent_stray_bytes(), "it was known");
        assert!(health.is_well(), "it still answers");
    }

    #[test]
    fn a_health_check_decides() {
        let health = health(60_000);
        assert!(health.checked(false) && !health.is_well());
        assert!(!health.checked(false), "no news");
        assert!(health.checked(true) && health.is_well());
    }
}
