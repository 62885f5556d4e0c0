//! Abuse limits per client address, before anything is looked up.
//!
//! Three counts: requests without a valid key, questions about the gateway's health, and all of them
//! against a high ceiling. An address that has used up the first gets no look-up of a key that is
//! not remembered, so that guessing keys costs the store nothing. Health is counted apart: whoever
//! fails from behind a load balancer's address must not make the gateway look ill. The least recent addresses are forgotten: memory is bounded under
//! a flood of them.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use driftlock_domain::address::abuse_key;
use driftlock_domain::denial::{Denial, LimitScope};
use driftlock_domain::limit::{Bucket, Limit};
use driftlock_domain::time::Timestamp;
use lru::LruCache;

const SHARDS: usize = 64;
/// Health may be asked for so many times as often as a request may fail: by default twenty times a
/// second, which is more than several load balancers behind one address ask.
const HEALTH_FACTOR: u32 = 10;

/// Which count a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// All requests.
    All,
    /// Those without a valid key.
    Failed,
    /// Questions about the gateway's health.
    Health,
}

/// The counts of every address.
pub(crate) struct Shield {
    shards: Box<[Mutex<LruCache<IpAddr, Buckets>>]>,
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

impl Shield {
    /// Limits per minute, and how many addresses are remembered.
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
    /// [`Denial::RateLimited`], once the count is used up; then nothing is counted.
    pub(crate) fn count(&self, ip: IpAddr, count: Count, now: Timestamp) -> Result<(), Denial> {
        self.with(ip, |buckets| {
            let (bucket, limit) = match count {
                Count::All => (&mut buckets.all, self.all),
                Count::Failed => (&mut buckets.failed, self.failed),
                Count::Health => (&mut buckets.health, self.health),
            };
            *bucket = bucket.check(limit, now).map_err(|wait| limited(wait.0))?;
            Ok(())
        })
    }

    /// Takes one request out of a count again, which turned out not to belong there.
    pub(crate) fn give_back(&self, ip: IpAddr, count: Count) {
        self.with(ip, |buckets| {
            let (bucket, limit) = match count {
                Count::All => (&mut buckets.all, self.all),
                Count::Failed => (&mut buckets.failed, self.failed),
                Count::Health => (&mut buckets.health, self.health),
            };
            *bucket = bucket.give_back(limit);
        });
    }

    /// Whether one more request without a valid key would pass; counts nothing.
    ///
    /// # Errors
    /// [`Denial::RateLimited`], when it would not.
    pub(crate) fn look(&self, ip: IpAddr, now: Timestamp) -> Result<(), Denial> {
        self.with(ip, |buckets| {
            buckets.failed.check(self.failed, now).map_err(|wait| limited(wait.0))?;
            Ok(())
        })
    }

    fn with<T>(&self, ip: IpAddr, act: impl FnOnce(&mut Buckets) -> T) -> T {
        let ip = abuse_key(ip);
        let place = usize::try_from(self.hasher.hash_one(ip) >> 32).unwrap_or(0) % SHARDS;
        let mut shard = self.shards[place].lock().unwrap_or_else(PoisonError::into_inner);
        act(shard.get_or_insert_mut(ip, Buckets::default))
    }
}

fn limited(wait: Duration) -> Denial {
    Denial::RateLimited { scope: LimitScope::Address, wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    #[test]
    fn failures_and_the_ceiling_are_counted_apart() {
        let shield = Shield::new(2, 3, 1_024);
        let ip: IpAddr = "192.0.2.1".parse().expect("an address");
        assert!(shield.count(ip, Count::Failed, at(0)).is_ok());
        assert!(shield.count(ip, Count::Failed, at(0)).is_ok());
        assert!(shield.look(ip, at(0)).is_err());
        assert!(shield.count(ip, Count::Failed, at(0)).is_err());
        assert!(shield.look(ip, at(30)).is_ok());
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
    fn what_is_given_back_may_be_used_again() {
        let shield = Shield::new(1, 3, 1_024);
        let ip: IpAddr = "192.0.2.1".parse().expect("an address");
        for _ in 0..5 {
            assert!(shield.count(ip, Count::Failed, at(0)).is_ok());
            assert!(shield.count(ip, Count::Failed, at(0)).is_err());
            shield.give_back(ip, Count::Failed);
        }
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory() {
        let shield = Shield::new(1, 1, 1_024);
        for n in 0..200_000_u32 {
            let ip = IpAddr::from(n.to_be_bytes());
            assert!(shield.count(ip, Count::Failed, at(0)).is_ok());
        }
        let kept: usize =
            shield.shards.iter().map(|shard| shard.lock().expect("sound").len()).sum();
        assert!(kept <= 1_024, "{kept}");
    }
}
