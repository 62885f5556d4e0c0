//! Limits the connections of each client address over all cores, so that no address uses all of
//! them. Trusted proxies, which forward the requests of many clients, have no limit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftlock_domain::address::{Networks, abuse_key};
use driftlock_domain::config::Config;

const SHARDS: usize = 64;

/// Counts the connections of each address.
pub(super) struct ConnectionLimiter {
    each_max: u32,
    proxies: Networks,
    shards: Box<[Mutex<HashMap<IpAddr, u32>>]>,
}

/// The permit for one connection of an address, returned on drop.
pub(super) struct ConnectionPermit(Option<(Arc<ConnectionLimiter>, IpAddr)>);

impl ConnectionLimiter {
    /// With the configuration's limit. In any case one address gets at most half of `all`
    /// connections of the process.
    pub(super) fn new(config: &Config, all: usize) -> Arc<Self> {
        let half = u32::try_from(all / 2).unwrap_or(u32::MAX).max(1);
        Arc::new(Self {
            each_max: config.limits.address_connections_max.min(half),
            proxies: Networks::new(&config.filter.trusted_proxies),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// A permit for one more connection of an address; `None` if the address has reached its limit.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionPermit> {
        if self.proxies.contains(peer) {
            return Some(ConnectionPermit::UNLIMITED);
        }
        let address = abuse_key(peer);
        let mut shard = self.shard(address);
        let count = shard.entry(address).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        drop(shard);
        Some(ConnectionPermit(Some((Arc::clone(self), address))))
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let bytes = match address {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let place = usize::try_from(bytes % SHARDS as u128).unwrap_or(0);
        // Of IPv6 only the upper half (the network) is left; its last bits differ between
        // neighbours.
        let network = usize::try_from((bytes >> 64) % SHARDS as u128).unwrap_or(0);
        self.shards[place ^ network].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// A permit for a connection that is not counted.
    pub(super) const UNLIMITED: Self = Self(None);
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Some((limiter, address)) = self.0.take() else { return };
        let mut shard = limiter.shard(address);
        if let Some(count) = shard.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn limiter(each_max: u32, all: usize) -> Arc<ConnectionLimiter> {
        let mut config = Config::default();
        config.limits.address_connections_max = each_max;
        config.filter.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        ConnectionLimiter::new(&config, all)
    }

    #[test]
    fn an_address_has_its_limit_and_does_not_use_others() {
        let limiter = limiter(2, 1_000);
        let first = limiter.enter(ip("2001:db8::1")).expect("room");
        let _second = limiter.enter(ip("2001:db8::2")).expect("room");
        assert!(limiter.enter(ip("2001:db8::3")).is_none(), "one subscriber's network");
        let _other = limiter.enter(ip("192.0.2.1")).expect("another address");
        drop(first);
        assert!(limiter.enter(ip("2001:db8::1")).is_some());
    }

    #[test]
    fn proxies_have_no_limit_and_addresses_without_connections_are_forgotten() {
        let limiter = limiter(1, 1_000);
        let proxied: Vec<_> = (0..10).map(|_| limiter.enter(ip("10.0.0.1"))).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop(limiter.enter(ip("192.0.2.1")));
        assert!(limiter.shards.iter().all(|shard| shard.lock().expect("sound").is_empty()));
    }

    #[test]
    fn half_of_all_connections_stay_for_other_addresses() {
        let limiter = limiter(1_000, 4);
        let held = [limiter.enter(ip("192.0.2.1")), limiter.enter(ip("192.0.2.1"))];
        assert!(held.iter().all(Option::is_some));
        assert!(limiter.enter(ip("192.0.2.1")).is_none());
        assert!(limiter.enter(ip("192.0.2.2")).is_some());
    }
}
