//! Cached keys, and when keys were last used.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use driftlock_domain::headers::CallerHeaders;
use driftlock_domain::id::KeyId;
use driftlock_domain::key::KeyRecord;
use driftlock_domain::time::Timestamp;

/// A key's use is written at most once in this time.
const WRITTEN_EVERY_MICROS: i64 = 60_000_000;
/// The most uses that wait to be written. Further uses are dropped; the next use after a minute
/// counts again.
const WAITING_MAX: usize = 65_536;

/// A key's record with values that are derived from it once.
#[derive(Debug)]
pub(crate) struct CachedKey {
    pub(crate) record: KeyRecord,
    /// The id as text, for audit rows.
    pub(crate) id: Arc<str>,
    /// The headers that tell the backend who calls.
    pub(crate) headers: CallerHeaders,
    written_at_micros: AtomicI64,
}

impl CachedKey {
    pub(crate) fn new(record: KeyRecord) -> Self {
        let written = record.last_used_at.map_or(i64::MIN, Timestamp::micros);
        Self {
            id: record.id.text().as_str().into(),
            headers: CallerHeaders::of(record.organization, record.id),
            record,
            written_at_micros: AtomicI64::new(written),
        }
    }
}

/// The key uses that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct TouchedKeys {
    waiting: Mutex<Vec<(KeyId, Timestamp)>>,
}

impl TouchedKeys {
    /// Queues a use, unless one was queued within the last minute.
    pub(crate) fn touch(&self, key: &CachedKey, now: Timestamp) {
        let last = key.written_at_micros.load(Ordering::Relaxed);
        let due = now.micros().saturating_sub(last) >= WRITTEN_EVERY_MICROS;
        let swap = |to| {
            key.written_at_micros.compare_exchange(last, to, Ordering::Relaxed, Ordering::Relaxed)
        };
        if due && swap(now.micros()).is_ok() {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() < WAITING_MAX {
                waiting.push((key.record.id, now));
            }
        }
    }

    /// Takes all waiting uses.
    pub(crate) fn take(&self) -> Vec<(KeyId, Timestamp)> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftlock_domain::id::OrganizationId;

    #[test]
    fn a_use_is_queued_once_a_minute() {
        let at = |secs: i64| Timestamp::from_secs(1_800_000_000 + secs);
        let key = CachedKey::new(KeyRecord {
            id: KeyId::from_bytes([1; 16]),
            organization: OrganizationId::from_bytes([2; 16]),
            name: String::new(),
            prefix: String::new(),
            scopes: Vec::new(),
            requests_per_minute: None,
            ip_allow: Vec::new(),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            created_at: at(0),
        });
        let touched = TouchedKeys::default();
        for secs in [0, 1, 59, 60, 61] {
            touched.touch(&key, at(secs));
        }
        assert_eq!(touched.take(), [(key.record.id, at(0)), (key.record.id, at(60))]);
        assert!(touched.take().is_empty());
    }
}
