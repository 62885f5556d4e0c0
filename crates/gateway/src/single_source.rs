//! Notices that all requests come from one address, which is most likely a load balancer that
//! `filter.trusted_proxies` does not name: then every client has the balancer's address, and address
//! limits and keys' allow-lists judge the balancer. It is said once, and never again.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// So many requests are looked at. One client alone may send as many: the warning says "probably".
const REQUESTS: u32 = 1_000;

/// See the module.
#[derive(Default)]
pub(crate) struct SingleSource {
    decided: AtomicBool,
    seen: Mutex<Option<(IpAddr, u32)>>,
}

impl SingleSource {
    /// Notes a request of `peer`, which is no trusted proxy or is one; whether to warn, once.
    pub(crate) fn note(&self, peer: IpAddr, is_trusted: bool) -> bool {
        if self.decided.load(Ordering::Relaxed) {
            return false;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, count) = seen.get_or_insert((peer, 0));
        if is_trusted || *first != peer {
            self.decided.store(true, Ordering::Relaxed);
            return false;
        }
        *count += 1;
        // The lock is held: one thread counts to the end.
        *count == REQUESTS && !self.decided.swap(true, Ordering::Relaxed)
    }
}

/// Warns of it.
pub(crate) fn warn(peer: IpAddr, is_forwarded: bool) {
    tracing::warn!(
        address = %peer,
        forwarding_header = is_forwarded,
        "all of the first {REQUESTS} requests came from one address, probably a load balancer's: \
         add its network to filter.trusted_proxies, or address limits and keys' address lists \
         treat all its clients as one"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        std::net::Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn one_address_is_warned_of_once() {
        let source = SingleSource::default();
        let warned: Vec<u32> = (1..=3 * REQUESTS).filter(|_| source.note(ip(1), false)).collect();
        assert_eq!(warned, [REQUESTS]);
    }

    #[test]
    fn several_addresses_or_a_trusted_proxy_are_no_reason_to_warn() {
        let source = SingleSource::default();
        assert!((1..REQUESTS).all(|_| !source.note(ip(1), false)));
        assert!(!source.note(ip(2), false));
        assert!((1..=2 * REQUESTS).all(|_| !source.note(ip(1), false)));
        let trusted = SingleSource::default();
        assert!((1..=2 * REQUESTS).all(|_| !trusted.note(ip(1), true)));
    }
}
