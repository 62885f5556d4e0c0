//! Abuse limits for each source of requests (an address, see [`Source`]), checked before any
//! lookup.
//!
//! There are three counts: requests without a valid key, health checks, and all requests against a
//! high ceiling. Health checks have a separate count, so that failed requests from behind a load
//! balancer's address cannot make the balancer's health checks fail.
//!
//! The counts delay failures only. A request with a valid key or admin token passes however often
//! its source failed before: many clients may share one address. If a source has used up its count,
//! [`crate::lookups`] bounds the lookups of its uncached keys.
//!
//! Memory is bounded: beyond `addresses_max` the least recently seen sources are dropped.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use driftlock_domain::address::Source;
use driftlock_domain::denial::{Denial, LimitScope};
use driftlock_domain::limit::{Bucket, Limit};
use driftlock_domain::time::Timestamp;
use lru::LruCache;

use crate::gateway::Listener;

const SHARDS: usize = 64;
/// The limit of health checks is this many times the limit of failures: by default twenty a second,
/// more than several load balancers behind one address send.
const HEALTH_FACTOR: u32 = 10;
/// Sources that a shield of the admin API or the admin listener keeps: there are few operators.
const OPERATORS_MAX: usize = 4_096;

/// The count that a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// All requests.
    All,
    /// Requests without a valid key.
    Failed,
    /// Health checks.
    Health,
}

/// The counts of every source.
pub(crate) struct Shield {
    shards: Box<[Mutex<LruCache<Source, Buckets>>]>,
    hasher: RandomState,
    failed: Limit,
    health: Limit,
    all: Limit,
}

#[derive(Clone, Copy, Default)]
struct Buckets {
    failed: Bucket,
    health: Bucket,
    all: Bucket,
}

/// A shield for each listener, so that clients cannot use up the counts of operators.
pub(crate) struct Shields {
    public: Shield,
    admin: Shield,
}

impl Shields {
    /// Two shields with the same limits. `addresses_max` is for the public one.
    pub(crate) fn new(failed_per_minute: u32, all_per_minute: u32, addresses_max: usize) -> Self {
        let of = |addresses| Shield::new(failed_per_minute, all_per_minute, addresses);
        Self { public: of(addresses_max), admin: of(addresses_max.min(OPERATORS_MAX)) }
    }

    /// The shield of a listener.
    pub(crate) const fn of(&self, listener: Listener) -> &Shield {
        match listener {
            Listener::Public => &self.public,
            Listener::Admin => &self.admin,
        }
    }
}

impl Shield {
    /// A shield with these limits per minute that keeps `addresses_max` sources.
    pub(crate) fn new(failed_per_minute: u32, all_per_minute: u32, addresses_max: usize) -> Self {
        let room = NonZeroUsize::new(addresses_max / SHARDS).unwrap_or(NonZeroUsize::MIN);
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(LruCache::new(room))).collect(),
            hasher: RandomState::new(),
            failed: Limit::per_minute(failed_per_minute),
            health: Limit::per_minute(failed_per_minute.saturating_mul(HEALTH_FACTOR)),
            all: Limit::per_minute(all_per_minute),
        }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// [`Denial::RateLimited`] when the limit is reached; then the request is not counted.
    pub(crate) fn count(&self, source: Source, count: Count, now: Timestamp) -> Result<(), Denial> {
        self.with(source, |buckets| {
            let (bucket, limit) = match count {
                Count::All => (&mut buckets.all, self.all),
                Count::Failed => (&mut buckets.failed, self.failed),
                Count::Health => (&mut buckets.health, self.health),
            };
            *bucket = bucket.check(limit, now).map_err(|wait| limited(wait.0))?;
            Ok(())
        })
    }

    /// Takes one request out of a count again, when it turned out not to belong there.
    pub(crate) fn give_back(&self, source: Source, count: Count) {
        self.with(source, |buckets| {
            let (bucket, limit) = match count {
                Count::All => (&mut buckets.all, self.all),
                Count::Failed => (&mut buckets.failed, self.failed),
                Count::Health => (&mut buckets.health, self.health),
            };
            *bucket = bucket.give_back(limit);
        });
    }

    /// Whether one more failure of the source would be answered with 429. Counts nothing.
    pub(crate) fn is_used_up(&self, source: Source, now: Timestamp) -> bool {
        self.with(source, |buckets| buckets.failed.check(self.failed, now).is_err())
    }

    fn with<T>(&self, source: Source, act: impl FnOnce(&mut Buckets) -> T) -> T {
        let place = usize::try_from(self.hasher.hash_one(source) >> 32).unwrap_or(0) % SHARDS;
        let mut shard = self.shards[place].lock().unwrap_or_else(PoisonError::into_inner);
        act(shard.get_or_insert_mut(source, Buckets::default))
    }
}

/// The denial for a source that has to wait.
pub(crate) const fn limited(wait: Duration) -> Denial {
    Denial::RateLimited { scope: LimitScope::Address, wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::Address(address.parse().expect("an address"))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    #[test]
    fn failures_and_the_ceiling_are_counted_apart() {
        let shield = Shield::new(2, 3, 1_024);
        let ip = source("192.0.2.1");
        assert!(shield.count(ip, Count::Failed, at(0)).is_ok());
        assert!(shield.count(ip, Count::Failed, at(0)).is_ok());
        assert!(shield.is_used_up(ip, at(0)));
        assert!(shield.count(ip, Count::Failed, at(0)).is_err());
        assert!(!shield.is_used_up(ip, at(30)));
        for _ in 0..3 {
            assert!(shield.count(ip, Count::All, at(0)).is_ok());
        }
        for _ in 0..20 {
            assert!(shield.count(ip, Count::Health, at(0)).is_ok(), "failures do not count");
        }
        assert!(shield.count(ip, Count::Health, at(0)).is_err());
        let wait = Duration::from_secs(20);
        let scope = LimitScope::Address;
        assert_eq!(shield.count(ip, Count::All, at(0)), Err(Denial::RateLimited { scope, wait }));
    }

    #[test]
    fn a_request_that_is_given_back_no_longer_counts() {
        let shield = Shield::new(1, 3, 1_024);
        let ip = source("192.0.2.1");
        for _ in 0..5 {
            assert!(shield.count(ip, Count::Failed, at(0)).is_ok());
            assert!(shield.count(ip, Count::Failed, at(0)).is_err());
            shield.give_back(ip, Count::Failed);
        }
    }

    #[test]
    fn the_admin_listener_has_separate_counts() {
        let shields = Shields::new(1, 1, 1_024);
        let ip = source("192.0.2.1");
        for count in [Count::Failed, Count::All] {
            assert!(shields.of(Listener::Public).count(ip, count, at(0)).is_ok());
            assert!(shields.of(Listener::Public).count(ip, count, at(0)).is_err());
            assert!(shields.of(Listener::Admin).count(ip, count, at(0)).is_ok());
        }
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory() {
        let shield = Shield::new(1, 1, 1_024);
        for n in 0..200_000_u32 {
            let ip = Source::Address(std::net::IpAddr::from(n.to_be_bytes()));
            assert!(shield.count(ip, Count::Failed, at(0)).is_ok());
        }
        let kept: usize =
            shield.shards.iter().map(|shard| shard.lock().expect("sound").len()).sum();
        assert!(kept <= 1_024, "{kept}");
    }
}
