//! Audit rows that no commit waits for: those of free requests, and of denials.
//!
//! They are queued and written together. Denials of one key, route and reason become one row at
//! once and, if there are more within the configured time, one row with their count, so that a
//! flood writes a bounded number of rows. The queue is bounded: beyond it rows are dropped and
//! counted, since the flow never waits for the log.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::config::Audit;
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::time::Timestamp;

const SHARDS: usize = 16;

/// Rows to be written.
pub(crate) type Rows = Vec<Row>;

/// A row, and whose it is.
pub(crate) type Row = (OrganizationId, AuditRecord);

/// Denials that become one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DenialKind {
    pub(crate) organization: OrganizationId,
    pub(crate) key: KeyId,
    pub(crate) route: u16,
    pub(crate) code: &'static str,
}

/// The queue; see the module's header.
pub(crate) struct AuditQueue {
    shards: Box<[Shard]>,
    denials: Mutex<HashMap<DenialKind, Repeated>>,
    dropped: AtomicU64,
    rows_max: usize,
    coalesce: Duration,
}

/// Rows of some organizations, and how many those are, for whoever adds all shards up.
#[derive(Default)]
struct Shard {
    rows: Mutex<Rows>,
    length: AtomicUsize,
}

struct Repeated {
    since: Timestamp,
    count: u64,
    last: Option<AuditRecord>,
}

impl AuditQueue {
    pub(crate) fn new(config: &Audit) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            denials: Mutex::default(),
            dropped: AtomicU64::new(0),
            rows_max: config.queue_max,
            coalesce: Duration::from_secs(config.coalesce_secs),
        }
    }

    /// Queues a row.
    pub(crate) fn push(&self, organization: OrganizationId, record: AuditRecord) {
        let shard = &self.shards[usize::from(organization.as_bytes()[15]) % SHARDS];
        let mut rows = lock(&shard.rows);
        // Below its share it need not ask how much room the others leave.
        if rows.len() < self.rows_max / SHARDS || self.length() < self.rows_max {
            rows.push((organization, record));
            shard.length.store(rows.len(), Ordering::Relaxed);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Rows that wait.
    pub(crate) fn length(&self) -> usize {
        self.shards.iter().map(|shard| shard.length.load(Ordering::Relaxed)).sum()
    }

    /// Queues a denial, or counts it with others like it.
    pub(crate) fn push_denial(&self, kind: DenialKind, record: AuditRecord) {
        let mut denials = lock(&self.denials);
        let room = denials.len() < self.rows_max;
        match denials.entry(kind) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.count += 1;
                known.last = Some(record);
            }
            Entry::Vacant(place) if room => {
                place.insert(Repeated { since: record.at, count: 0, last: None });
                drop(denials);
                self.push(kind.organization, record);
            }
            Entry::Vacant(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes what is to be written at `now`.
    pub(crate) fn take(&self, now: Timestamp) -> Rows {
        self.take_denials(|since| now.since(since) >= self.coalesce)
    }

    /// After how long the first count of denials is to be written; `None` when nothing was counted.
    pub(crate) fn counts_due_in(&self, now: Timestamp) -> Option<Duration> {
        let denials = lock(&self.denials);
        let counted = denials.values().filter(|repeated| repeated.last.is_some());
        counted.map(|repeated| self.coalesce.saturating_sub(now.since(repeated.since))).min()
    }

    /// Takes everything: the process stops.
    pub(crate) fn take_all(&self) -> Rows {
        self.take_denials(|_| true)
    }

    /// Puts rows back whose writing failed.
    pub(crate) fn put_back(&self, rows: impl Iterator<Item = Row>) {
        for (organization, record) in rows {
            self.push(organization, record);
        }
    }

    /// How many rows were dropped since the last call.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    fn take_denials(&self, due: impl Fn(Timestamp) -> bool) -> Rows {
        let mut taken = Rows::new();
        for shard in &self.shards {
            let mut rows = lock(&shard.rows);
            taken.append(&mut rows);
            shard.length.store(0, Ordering::Relaxed);
        }
        lock(&self.denials).retain(|kind, repeated| {
            if !due(repeated.since) {
                return true;
            }
            if let Some(last) = repeated.last.take() {
                let details = counted(&last.details, repeated.count, repeated.since);
                taken.push((kind.organization, AuditRecord { details, ..last }));
            }
            false
        });
        taken
    }
}

/// The row's details with the count of denials since the first one's own row.
fn counted(details: &str, count: u64, since: Timestamp) -> Arc<str> {
    let mut object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(details).unwrap_or_default();
    object.insert("count".to_owned(), count.into());
    object.insert("since".to_owned(), since.to_string().into());
    serde_json::Value::Object(object).to_string().into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(secs: i64) -> AuditRecord {
        let text = |text: &str| -> Arc<str> { text.into() };
        AuditRecord {
            at: Timestamp::from_secs(secs),
            actor: text("key_1"),
            action: text("request"),
            resource: text("GET /api/v1/anomalies"),
            outcome: text("rate-limited"),
            request_id: text("r"),
            ip: text("192.0.2.1"),
            details: text("{}"),
        }
    }

    fn kind() -> DenialKind {
        DenialKind {
            organization: OrganizationId::from_bytes([1; 16]),
            key: KeyId::from_bytes([2; 16]),
            route: 0,
            code: "rate-limited",
        }
    }

    #[test]
    fn a_flood_of_denials_is_two_rows() {
        let queue = AuditQueue::new(&Audit::default());
        for _ in 0..1_000 {
            queue.push_denial(kind(), record(100));
        }
        let first = queue.take(Timestamp::from_secs(100));
        assert_eq!(first.len(), 1);
        assert_eq!(&*first[0].1.details, "{}");
        assert!(queue.take(Timestamp::from_secs(109)).is_empty());
        let rest = queue.take(Timestamp::from_secs(110));
        assert_eq!(rest.len(), 1);
        assert_eq!(&*rest[0].1.details, r#"{"count":999,"since":"1970-01-01T00:01:40Z"}"#);
        assert!(queue.take(Timestamp::from_secs(200)).is_empty());
    }

    #[test]
    fn counts_are_due_when_their_time_is_over() {
        let queue = AuditQueue::new(&Audit::default());
        queue.push_denial(kind(), record(100));
        let at = Timestamp::from_secs;
        assert_eq!(queue.counts_due_in(at(101)), None, "the first has a row of its own");
        queue.push_denial(kind(), record(102));
        assert_eq!(queue.counts_due_in(at(104)), Some(Duration::from_secs(6)));
        assert_eq!(queue.counts_due_in(at(120)), Some(Duration::ZERO));
        assert_eq!(queue.take(at(120)).len(), 2);
        assert_eq!(queue.counts_due_in(at(120)), None);
    }

    #[test]
    fn the_queue_is_bounded_and_drops_are_counted() {
        let queue = AuditQueue::new(&Audit { queue_max: 64, ..Audit::default() });
        let organization = OrganizationId::from_bytes([1; 16]);
        for _ in 0..100 {
            queue.push(organization, record(1));
        }
        assert_eq!(queue.take_all().len(), 64);
        assert_eq!(queue.take_dropped(), 36);
        assert_eq!(queue.take_dropped(), 0);
        // An organization has what room the others leave; each has its share in any case.
        let other = OrganizationId::from_bytes([2; 16]);
        for _ in 0..64 {
            queue.push(organization, record(1));
        }
        queue.push(other, record(1));
        queue.push(organization, record(1));
        assert_eq!((queue.take_all().len(), queue.take_dropped()), (65, 1));
    }
}
