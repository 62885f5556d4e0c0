//! The cache of keys and organizations on this node, so that most requests need no database.
//!
//! Invariant (I5): a reader takes its shard's epoch before it reads the store, and what it read is
//! not cached if the epoch has changed since. A writer commits, invalidates the record (which
//! changes the epoch), and then answers. So a record that was read before a revocation is never
//! cached after it.
//!
//! Some stores report every change. When such a store confirms that it has reported all changes,
//! all cached records count as read at that time, and none has to be read again. A node counts as
//! cut off after [`CUT_OFF_AFTER`] without a report, and the maximum age counts from then. So an
//! outage of up to `max_stale_secs` is bridged completely, including the reconnect.
//!
//! Unknown keys are cached too, in a separate map, so that a flood of them evicts no known key.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use driftlock_domain::time::Timestamp;
use lru::LruCache;

const SHARDS: usize = 64;
/// The entries for unknown keys are this fraction (1/8) of the entries for known ones.
const ABSENT_SHARE: usize = 8;
/// While one request reads a record again, other requests use the old one for this long.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// A store that reports changes counts as unreachable after this long without a report.
pub(crate) const CUT_OFF_AFTER: Duration = Duration::from_secs(5);

/// How long cached records are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ages {
    /// After this long a record is read again.
    pub(crate) fresh: Duration,
    /// After this long a record is no longer used at all.
    pub(crate) stale_max: Duration,
}

/// What the cache has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup<V> {
    /// The record, or `None` if it does not exist in the store.
    Known(Option<V>),
    /// Like `Known`, but the caller has to read it again. If that fails, it may use this one.
    Aged(Option<V>, Epoch),
    /// Nothing: the caller has to read the store.
    Missing(Epoch),
}

/// The epoch in which a reader began: see the module's invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

/// A cache by key, in shards with locks that are held only briefly.
pub(crate) struct Cache<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    ages: Ages,
    /// In microseconds. All records count as read at this time or later.
    confirmed_at: AtomicI64,
    /// How often records were invalidated.
    invalidations: AtomicU64,
}

struct Shard<K, V> {
    epoch: u64,
    present: LruCache<K, Entry<V>>,
    absent: LruCache<K, Entry<()>>,
}

#[derive(Clone, Copy)]
struct Entry<V> {
    value: V,
    read_at: Timestamp,
    read_again_at: Timestamp,
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, V> {
    /// Room for `entries_max` records.
    pub(crate) fn new(entries_max: usize, ages: Ages) -> Self {
        let room =
            |entries: usize| NonZeroUsize::new(entries / SHARDS).unwrap_or(NonZeroUsize::MIN);
        let shard = |_| {
            Mutex::new(Shard {
                epoch: 0,
                present: LruCache::new(room(entries_max)),
                absent: LruCache::new(room(entries_max / ABSENT_SHARE)),
            })
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hasher: RandomState::new(),
            ages,
            confirmed_at: AtomicI64::new(i64::MIN),
            invalidations: AtomicU64::new(0),
        }
    }

    /// The store has reported all changes up to `at`: all records count as read at `at`.
    pub(crate) fn confirm(&self, at: Timestamp) {
        self.confirmed_at.fetch_max(at.micros(), Ordering::Relaxed);
    }

    /// What the cache has for `key`.
    pub(crate) fn get(&self, key: &K, now: Timestamp) -> Lookup<V> {
        let confirmed_at = Timestamp::from_micros(self.confirmed_at.load(Ordering::Relaxed));
        self.with(key, |shard| {
            let epoch = Epoch(shard.epoch);
            let found = match shard.present.get_mut(key) {
                Some(entry) => {
                    entry.look(now, confirmed_at, self.ages).map(|(v, aged)| (Some(v), aged))
                }
                None => shard
                    .absent
                    .get_mut(key)
                    .and_then(|entry| entry.look(now, confirmed_at, self.ages))
                    .map(|((), aged)| (None, aged)),
            };
            match found {
                Some((value, false)) => Lookup::Known(value),
                Some((value, true)) => Lookup::Aged(value, epoch),
                None => Lookup::Missing(epoch),
            }
        })
    }

    /// Whether a record for `key` is cached, however old.
    pub(crate) fn is_present(&self, key: &K) -> bool {
        self.with(key, |shard| shard.present.contains(key))
    }

    /// Caches what a reader found that began in `epoch` at `read_at`.
    pub(crate) fn fill(&self, key: K, value: Option<V>, epoch: Epoch, read_at: Timestamp) {
        self.with(&key, |shard| {
            if shard.epoch != epoch.0 {
                return;
            }
            let read_again_at = read_at.plus(self.ages.fresh);
            match value {
                Some(value) => {
                    shard.absent.pop(&key);
                    shard.present.put(key, Entry { value, read_at, read_again_at });
                }
                None => {
                    shard.present.pop(&key);
                    shard.absent.put(key, Entry { value: (), read_at, read_again_at });
                }
            }
        });
    }

    /// How often records were invalidated: for a reader that does not know yet which key its record
    /// will have.
    pub(crate) fn invalidations(&self) -> u64 {
        self.invalidations.load(Ordering::Acquire)
    }

    /// Caches what a reader found at `read_at`, unless anything was invalidated since the reader
    /// took `before` from [`Self::invalidations`].
    pub(crate) fn fill_unless_invalidated(
        &self,
        key: K,
        value: V,
        before: u64,
        read_at: Timestamp,
    ) {
        self.with(&key, |shard| {
            // An invalidation increments the counter before it takes this lock.
            if self.invalidations() == before {
                let read_again_at = read_at.plus(self.ages.fresh);
                shard.absent.pop(&key);
                shard.present.put(key, Entry { value, read_at, read_again_at });
            }
        });
    }

    /// Drops one record. The results of reads in progress will not be cached.
    pub(crate) fn invalidate(&self, key: &K) {
        self.invalidations.fetch_add(1, Ordering::AcqRel);
        self.with(key, |shard| {
            shard.epoch += 1;
            shard.present.pop(key);
            shard.absent.pop(key);
        });
    }

    /// Drops every record that `which` selects. The results of reads in progress will not be
    /// cached.
    pub(crate) fn invalidate_where(&self, which: impl Fn(&V) -> bool) {
        self.invalidations.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.epoch += 1;
            let found = shard.present.iter().filter(|(_, entry)| which(&entry.value));
            let keys: Vec<K> = found.map(|(key, _)| *key).collect();
            for key in keys {
                shard.present.pop(&key);
            }
        }
    }

    /// Drops all records. The results of reads in progress will not be cached.
    pub(crate) fn clear(&self) {
        self.invalidations.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.epoch += 1;
            shard.present.clear();
            shard.absent.clear();
        }
    }

    fn with<T>(&self, key: &K, act: impl FnOnce(&mut Shard<K, V>) -> T) -> T {
        let place = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % SHARDS;
        act(&mut self.shards[place].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<V: Clone> Entry<V> {
    /// The value and whether the caller has to read it again; `None` when it is too old.
    fn look(&mut self, now: Timestamp, confirmed: Timestamp, ages: Ages) -> Option<(V, bool)> {
        let age = now.since(self.read_at.max(confirmed));
        let is_confirmed = now.since(confirmed) <= ages.stale_max + CUT_OFF_AFTER;
        if age > ages.stale_max && !is_confirmed {
            return None;
        }
        let aged = age >= ages.fresh && now >= self.read_again_at;
        if aged {
            self.read_again_at = now.plus(REFRESH_PAUSE);
        }
        Some((self.value.clone(), aged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGES: Ages = Ages { fresh: Duration::from_secs(10), stale_max: Duration::from_secs(60) };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn missing(cache: &Cache<u32, u8>, key: u32, now: Timestamp) -> Epoch {
        match cache.get(&key, now) {
            Lookup::Missing(epoch) => epoch,
            found => panic!("expected nothing, found {found:?}"),
        }
    }

    #[test]
    fn a_fill_that_raced_a_revocation_is_discarded() {
        let cache = Cache::new(1_024, AGES);
        let epoch = missing(&cache, 1, at(0));
        cache.invalidate(&1);
        cache.fill(1, Some(7), epoch, at(0));
        let epoch = missing(&cache, 1, at(0));
        cache.invalidate_where(|_| false);
        cache.fill(1, Some(7), epoch, at(0));
        missing(&cache, 1, at(0));
    }

    #[test]
    fn a_record_read_along_with_another_is_not_cached_after_an_invalidation() {
        let cache = Cache::new(1_024, AGES);
        let before = cache.invalidations();
        cache.fill_unless_invalidated(1, 7, before, at(0));
        assert_eq!(cache.get(&1, at(1)), Lookup::Known(Some(7)));
        cache.invalidate(&2);
        cache.fill_unless_invalidated(1, 8, before, at(1));
        assert_eq!(cache.get(&1, at(1)), Lookup::Known(Some(7)), "also of another record");
        cache.fill_unless_invalidated(1, 8, cache.invalidations(), at(1));
        assert_eq!(cache.get(&1, at(1)), Lookup::Known(Some(8)));
    }

    #[test]
    fn records_age() {
        let cache = Cache::new(1_024, AGES);
        let epoch = missing(&cache, 1, at(0));
        cache.fill(1, Some(7), epoch, at(0));
        assert_eq!(cache.get(&1, at(9)), Lookup::Known(Some(7)));
        assert_eq!(cache.get(&1, at(10)), Lookup::Aged(Some(7), epoch));
        assert_eq!(cache.get(&1, at(10)), Lookup::Known(Some(7)), "only one request reads again");
        assert_eq!(cache.get(&1, at(60)), Lookup::Aged(Some(7), epoch));
        assert_eq!(cache.get(&1, at(61)), Lookup::Missing(epoch), "never older than `stale_max`");
    }

    #[test]
    fn confirmed_records_are_not_read_again() {
        let cache = Cache::new(1_024, AGES);
        let epoch = missing(&cache, 1, at(0));
        cache.fill(1, Some(7), epoch, at(0));
        cache.fill(2, None, epoch, at(0));
        cache.confirm(at(50));
        cache.confirm(at(40));
        assert_eq!(cache.get(&1, at(59)), Lookup::Known(Some(7)));
        assert_eq!(cache.get(&2, at(59)), Lookup::Known(None));
        assert_eq!(cache.get(&1, at(60)), Lookup::Aged(Some(7), epoch), "not confirmed since");
        assert_eq!(cache.get(&1, at(115)), Lookup::Aged(Some(7), epoch), "cut off for 60 s");
        missing(&cache, 1, at(116));
    }

    #[test]
    fn clearing_drops_all_records_and_reads_in_progress() {
        let cache = Cache::new(1_024, AGES);
        let epoch = missing(&cache, 1, at(0));
        cache.fill(1, Some(7), epoch, at(0));
        cache.fill(2, None, epoch, at(0));
        cache.clear();
        cache.fill(2, None, epoch, at(0));
        missing(&cache, 1, at(0));
        missing(&cache, 2, at(0));
    }

    #[test]
    fn a_flood_of_unknown_keys_evicts_no_known_one() {
        let cache = Cache::new(1_024, AGES);
        let epoch = missing(&cache, 0, at(0));
        cache.fill(0, Some(1), epoch, at(0));
        for key in 1..100_000 {
            cache.fill(key, None, epoch, at(0));
        }
        assert_eq!(cache.get(&0, at(1)), Lookup::Known(Some(1)));
        assert_eq!(cache.get(&99_999, at(1)), Lookup::Known(None));
        missing(&cache, 1, at(1));
    }

    #[test]
    fn only_selected_records_are_invalidated() {
        let cache = Cache::new(1_024, AGES);
        for key in 0..8 {
            let epoch = missing(&cache, key, at(0));
            cache.fill(key, Some(u8::try_from(key).expect("small")), epoch, at(0));
        }
        cache.invalidate_where(|value| *value == 3);
        missing(&cache, 3, at(0));
        assert_eq!(cache.get(&4, at(0)), Lookup::Known(Some(4)));
    }
}
