//! What this node remembers of keys and organizations, so that a request asks no database.
//!
//! Invariant (I5): a fill notes its shard's epoch before it reads the store, and is discarded if
//! the epoch changed meanwhile; whoever changes a fact commits, invalidates (which moves the
//! epoch), then answers. So nothing read before a revocation is remembered after it.
//!
//! Where the store tells of every change, what is remembered is as good as read when the store last
//! said that all changes were told: then nothing is read again. A node counts as cut off once the store
//! has told nothing for [`CUT_OFF_AFTER`], and the greatest age counts from there: an outage as long as
//! that is passed over whole, the store's coming back included.
//!
//! Unknown keys are remembered too, on their own, so that a flood of them evicts no known one.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use driftlock_domain::time::Timestamp;
use lru::LruCache;

const SHARDS: usize = 64;
/// Unknown keys get this share of the room.
const ABSENT_SHARE: usize = 8;
/// While one request reads a fact again, others go on with the old one for this long.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// A store that tells of changes is taken to be away when nothing was heard of it for so long.
pub(crate) const CUT_OFF_AFTER: Duration = Duration::from_secs(5);

/// How long records are good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ages {
    /// After this long a fact is read again.
    pub(crate) fresh: Duration,
    /// After this long it is no longer served at all.
    pub(crate) stale_max: Duration,
}

/// What the cache knows of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup<V> {
    /// It, or that there is none.
    Known(Option<V>),
    /// It, but the caller has to read it again; when that fails, the old one still serves.
    Aged(Option<V>, Epoch),
    /// Nothing.
    Missing(Epoch),
}

/// When a reader began: see the module's invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

/// Cache by key, in shards behind short locks.
pub(crate) struct Cache<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    ages: Ages,
    /// Microseconds: no fact is older than this.
    confirmed_at: AtomicI64,
    /// How often anything was forgotten.
    forgotten: AtomicU64,
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
            forgotten: AtomicU64::new(0),
        }
    }

    /// All that is remembered is as the store has it at `at`: its changes were all told.
    pub(crate) fn confirm(&self, at: Timestamp) {
        self.confirmed_at.fetch_max(at.micros(), Ordering::Relaxed);
    }

    /// What is known of `key`.
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

    /// Whether there is such a fact, as far as is remembered, however old.
    pub(crate) fn is_present(&self, key: &K) -> bool {
        self.with(key, |shard| shard.present.contains(key))
    }

    /// Remembers what a reader that began in `epoch` at `read_at` found.
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

    /// How often anything was forgotten: for a reader that does not know yet what it will find.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Remembers what a reader found at `read_at`, unless anything was forgotten since it noted how
    /// often that was the case.
    pub(crate) fn fill_unless_forgotten(&self, key: K, value: V, noted: u64, read_at: Timestamp) {
        self.with(&key, |shard| {
            // Whoever forgets counts first, and then waits for this lock.
            if self.forgotten() == noted {
                let read_again_at = read_at.plus(self.ages.fresh);
                shard.absent.pop(&key);
                shard.present.put(key, Entry { value, read_at, read_again_at });
            }
        });
    }

    /// Forgets one fact; reads that are under way will not be remembered.
    pub(crate) fn invalidate(&self, key: &K) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.with(key, |shard| {
            shard.epoch += 1;
            shard.present.pop(key);
            shard.absent.pop(key);
        });
    }

    /// Forgets every fact that `which` names; reads that are under way will not be remembered.
    pub(crate) fn invalidate_where(&self, which: impl Fn(&V) -> bool) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
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

    /// Forgets everything; reads that are under way will not be remembered.
    pub(crate) fn clear(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
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
    /// The value and whether the caller has to read it again; nothing when it is too old.
    fn look(&mut self, now: Timestamp, confirmed: Timestamp, ages: Ages) -> Option<(V, bool)> {
        let age = now.since(self.read_at.max(confirmed));
        let is_told = now.since(confirmed) <= ages.stale_max + CUT_OFF_AFTER;
        if age > ages.stale_max && !is_told {
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
    fn what_was_read_along_is_not_remembered_past_a_change() {
        let cache = Cache::new(1_024, AGES);
        let noted = cache.forgotten();
        cache.fill_unless_forgotten(1, 7, noted, at(0));
        assert_eq!(cache.get(&1, at(1)), Lookup::Known(Some(7)));
        cache.invalidate(&2);
        cache.fill_unless_forgotten(1, 8, noted, at(1));
        assert_eq!(cache.get(&1, at(1)), Lookup::Known(Some(7)), "whatever was changed");
        cache.fill_unless_forgotten(1, 8, cache.forgotten(), at(1));
        assert_eq!(cache.get(&1, at(1)), Lookup::Known(Some(8)));
    }

    #[test]
    fn records_age() {
        let cache = Cache::new(1_024, AGES);
        let epoch = missing(&cache, 1, at(0));
        cache.fill(1, Some(7), epoch, at(0));
        assert_eq!(cache.get(&1, at(9)), Lookup::Known(Some(7)));
        assert_eq!(cache.get(&1, at(10)), Lookup::Aged(Some(7), epoch));
        assert_eq!(cache.get(&1, at(10)), Lookup::Known(Some(7)), "one reader at a time");
        assert_eq!(cache.get(&1, at(60)), Lookup::Aged(Some(7), epoch));
        assert_eq!(cache.get(&1, at(61)), Lookup::Missing(epoch), "never older than the bound");
    }

    #[test]
    fn what_the_store_confirms_is_not_read_again() {
        let cache = Cache::new(1_024, AGES);
        let epoch = missing(&cache, 1, at(0));
        cache.fill(1, Some(7), epoch, at(0));
        cache.fill(2, None, epoch, at(0));
        cache.confirm(at(50));
        cache.confirm(at(40));
        assert_eq!(cache.get(&1, at(59)), Lookup::Known(Some(7)));
        assert_eq!(cache.get(&2, at(59)), Lookup::Known(None));
        assert_eq!(cache.get(&1, at(60)), Lookup::Aged(Some(7), epoch), "nothing was heard since");
        assert_eq!(cache.get(&1, at(115)), Lookup::Aged(Some(7), epoch), "cut off for 60 s");
        missing(&cache, 1, at(116));
    }

    #[test]
    fn everything_can_be_forgotten() {
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
    fn what_is_named_is_forgotten() {
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
