//! Warns once if all requests come from one address. Most likely that is a load balancer that is
//! missing in `filter.trusted_proxies`: then every client seems to have the balancer's address, and
//! address limits and the address lists of keys apply to the balancer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many requests are examined. One client may send as many, so the warning says "probably".
const REQUESTS: u32 = 1_000;

/// Detects that all of the first requests come from one address.
#[derive(Default)]
pub(crate) struct SingleSource {
    decided: AtomicBool,
    seen: Mutex<Option<(IpAddr, u32)>>,
}

impl SingleSource {
    /// Counts a request from `peer`. Returns whether to warn; that is `true` once at most.
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
        // The lock is held, so exactly one thread sees the last count.
        *count == REQUESTS && !self.decided.swap(true, Ordering::Relaxed)
    }
}

/// Logs the warning.
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
    fn one_address_causes_one_warning() {
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
