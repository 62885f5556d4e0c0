//! The queue of audit rows that are not part of a settlement: those of free requests and denials.
//!
//! The rows are queued and written together. Denials with the same key, route and reason become one
//! row at once and, if there are more within the configured time, one row with their count. So a
//! flood writes a bounded number of rows. The queue is bounded: when it is full, rows are dropped
//! and counted, since requests never wait for the log.
//!
//! A full queue is shared fairly: a new row of an organization with less than the average number of
//! rows replaces the newest row of the organization with the most; the new row of any other
//! organization is dropped. So a flood of one organization during an outage of the store costs the
//! others nothing.

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

/// A row and the organization that it belongs to.
pub(crate) type Row = (OrganizationId, AuditRecord);

/// The kind of a denial. Denials of one kind become one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DenialKind {
    pub(crate) organization: OrganizationId,
    pub(crate) key: KeyId,
    pub(crate) route: u16,
    pub(crate) code: &'static str,
}

/// The queue of audit rows.
pub(crate) struct AuditQueue {
    shards: Box<[Shard]>,
    denials: Mutex<Denials>,
    dropped: AtomicU64,
    rows_max: usize,
    coalesce: Duration,
}

/// The rows of some organizations. `length` can be read without the lock.
#[derive(Default)]
struct Shard {
    rows: Mutex<Waiting>,
    length: AtomicUsize,
}

/// The rows of each organization in order, and the number of all rows.
#[derive(Default)]
struct Waiting {
    rows: HashMap<OrganizationId, Vec<AuditRecord>>,
    length: usize,
}

/// Denials by kind, and the number of kinds of each organization.
#[derive(Default)]
struct Denials {
    kinds: HashMap<DenialKind, Repeated>,
    of_organization: HashMap<OrganizationId, usize>,
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
        let mut waiting = lock(&shard.rows);
        // A shard with less than its share has room, whatever the other shards hold.
        let has_room = waiting.length < self.rows_max / SHARDS || self.length() < self.rows_max;
        if !has_room {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if !waiting.displace_for(organization) {
                return;
            }
        }
        waiting.push(organization, record);
        shard.length.store(waiting.length, Ordering::Relaxed);
    }

    /// How many rows wait.
    pub(crate) fn length(&self) -> usize {
        self.shards.iter().map(|shard| shard.length.load(Ordering::Relaxed)).sum()
    }

    /// Queues a denial, or counts it if one of the same kind was queued before.
    pub(crate) fn push_denial(&self, kind: DenialKind, record: AuditRecord) {
        let mut denials = lock(&self.denials);
        let known = denials.of_organization.get(&kind.organization).copied().unwrap_or(0);
        let room = denials.kinds.len() < self.rows_max && known < self.kinds_max();
        match denials.kinds.entry(kind) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.count += 1;
                known.last = Some(record);
            }
            Entry::Vacant(place) if room => {
                place.insert(Repeated { since: record.at, count: 0, last: None });
                *denials.of_organization.entry(kind.organization).or_default() += 1;
                drop(denials);
                self.push(kind.organization, record);
            }
            Entry::Vacant(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The most kinds of denials of one organization that are counted at a time.
    const fn kinds_max(&self) -> usize {
        self.rows_max / SHARDS
    }

    /// Takes the rows that are to be written at `now`.
    pub(crate) fn take(&self, now: Timestamp) -> Rows {
        self.take_denials(|since| now.since(since) >= self.coalesce)
    }

    /// After how long the first count of denials is due; `None` when nothing was counted.
    pub(crate) fn counts_due_in(&self, now: Timestamp) -> Option<Duration> {
        let denials = lock(&self.denials);
        let counted = denials.kinds.values().filter(|repeated| repeated.last.is_some());
        counted.map(|repeated| self.coalesce.saturating_sub(now.since(repeated.since))).min()
    }

    /// Takes all rows, when the process stops.
    pub(crate) fn take_all(&self) -> Rows {
        self.take_denials(|_| true)
    }

    /// Puts back rows that could not be written.
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
            let mut waiting = lock(&shard.rows);
            taken.reserve(waiting.length);
            for (organization, rows) in std::mem::take(&mut *waiting).rows {
                taken.extend(rows.into_iter().map(|row| (organization, row)));
            }
            shard.length.store(0, Ordering::Relaxed);
        }
        let Denials { kinds, of_organization } = &mut *lock(&self.denials);
        kinds.retain(|kind, repeated| {
            if !due(repeated.since) {
                return true;
            }
            if let Some(last) = repeated.last.take() {
                let details = counted(&last.details, repeated.count, repeated.since);
                taken.push((kind.organization, AuditRecord { details, ..last }));
            }
            if let Some(known) = of_organization.get_mut(&kind.organization) {
                *known -= 1;
                if *known == 0 {
                    of_organization.remove(&kind.organization);
                }
            }
            false
        });
        taken
    }
}

impl Waiting {
    fn push(&mut self, organization: OrganizationId, record: AuditRecord) {
        self.rows.entry(organization).or_default().push(record);
        self.length += 1;
    }

    /// Removes the newest row of the organization with the most rows, if this organization has less
    /// than the average. Returns whether there is room now.
    fn displace_for(&mut self, organization: OrganizationId) -> bool {
        let own = self.rows.get(&organization).map_or(0, Vec::len);
        // At or above the average. This check needs no search, so it is cheap during a flood.
        if own * self.rows.len() >= self.length {
            return false;
        }
        let most = self.rows.values_mut().max_by_key(|rows| rows.len());
        let is_displaced = most.and_then(Vec::pop).is_some();
        self.length -= usize::from(is_displaced);
        is_displaced
    }
}

/// The row's details with the count of denials since the row of the first one.
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
    fn counts_are_due_after_the_coalescing_time() {
        let queue = AuditQueue::new(&Audit::default());
        queue.push_denial(kind(), record(100));
        let at = Timestamp::from_secs;
        assert_eq!(queue.counts_due_in(at(101)), None, "the first is a separate row");
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
        // One organization can use the room that the others leave free, but each gets its share.
        let other = OrganizationId::from_bytes([2; 16]);
        for _ in 0..64 {
            queue.push(organization, record(1));
        }
        queue.push(other, record(1));
        queue.push(organization, record(1));
        assert_eq!((queue.take_all().len(), queue.take_dropped()), (65, 1));
    }

    /// One organization floods while the store does not answer, with others in the same shard.
    #[test]
    fn a_flood_of_one_organization_drops_no_row_of_others() {
        let queue = AuditQueue::new(&Audit { queue_max: 1_024, ..Audit::default() });
        let of = |first: u8| {
            let mut bytes = [0; 16];
            bytes[0] = first;
            OrganizationId::from_bytes(bytes)
        };
        for round in 0..200_i64 {
            for _ in 0..100 {
                queue.push(of(0), record(round));
            }
            if round % 20 == 0 {
                (1..=9).for_each(|other| queue.push(of(other), record(round)));
            }
            // The store does not take the rows.
            let rows = queue.take(Timestamp::from_secs(round));
            queue.put_back(rows.into_iter());
        }
        let rows = queue.take_all();
        for other in 1..=9 {
            let of_other = rows.iter().filter(|(organization, _)| *organization == of(other));
            let times: Vec<i64> = of_other.map(|(_, row)| row.at.secs()).collect();
            assert_eq!(times, [0, 20, 40, 60, 80, 100, 120, 140, 160, 180], "in their order");
        }
        assert_eq!(rows.len(), 1_024, "and no more than there is room for");
        assert_eq!(queue.take_dropped(), 200 * 100 + 90 - 1_024);
    }

    #[test]
    fn many_kinds_of_denials_of_one_organization_leave_room_for_others() {
        let queue = AuditQueue::new(&Audit { queue_max: 1_024, ..Audit::default() });
        let organization = |n: u8| OrganizationId::from_bytes([n; 16]);
        let denied = |n: u8, route: u16| {
            queue.push_denial(
                DenialKind { organization: organization(n), route, ..kind() },
                record(100),
            );
        };
        (0..10_000).for_each(|route| denied(1, route));
        denied(2, 0);
        let rows = queue.take(Timestamp::from_secs(100));
        assert!(rows.iter().any(|(of, _)| *of == organization(2)));
        assert!(rows.len() <= 1_024 / SHARDS + 1, "{}", rows.len());
        queue.take(Timestamp::from_secs(111));
        assert!(lock(&queue.denials).of_organization.is_empty());
    }
}
