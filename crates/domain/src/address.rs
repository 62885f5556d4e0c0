//! The client address of a request, and the source that abuse limits count by.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

/// The most entries of `X-Forwarded-For` that are read: no chain of proxies is longer.
const HOPS_MAX: usize = 32;

/// The header that names the client, unless another one is configured.
pub const FORWARDED_FOR: &str = "X-Forwarded-For";

/// The client's address: the peer's, unless the peer is a trusted proxy. Then it comes from the
/// header `header`: from `X-Forwarded-For` the last entry that is not a trusted proxy, from any
/// other header (`CF-Connecting-IP`) its single address. No other header is read, since a proxy
/// passes on unchanged the headers that it does not write itself.
#[must_use]
pub fn client_ip(headers: &HeaderMap, peer: IpAddr, trusted: &Networks, header: &str) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    if !header.eq_ignore_ascii_case(FORWARDED_FOR) {
        let mut lines = headers.get_all(header).iter();
        let named = lines.next().and_then(|line| address(line.as_bytes()));
        return named.filter(|_| lines.next().is_none()).unwrap_or(peer);
    }
    let mut nearest = peer;
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    for hop in lines.flat_map(|line| line.as_bytes().rsplit(|b| *b == b',')).take(HOPS_MAX) {
        // No trusted proxy wrote the unreadable entry, nor the entries before it.
        let Some(ip) = address(hop) else { break };
        nearest = ip;
        if !trusted.contains(ip) {
            break;
        }
    }
    nearest
}

/// The one address that Cloudflare gives to all Workers of other zones than the gateway's:
/// <https://developers.cloudflare.com/fundamentals/reference/http-headers/#cf-connecting-ip-in-worker-subrequests>.
pub const OTHER_ZONES_WORKERS: IpAddr =
    IpAddr::V6(Ipv6Addr::new(0x2a06, 0x98c0, 0x3600, 0, 0, 0, 0, 0x103));
/// The header in which Cloudflare names the zone of such a Worker. A Worker cannot change it.
const WORKER_ZONE: &str = "cf-worker";

/// The sender by which an abuse limit counts requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A client address; see [`abuse_key`].
    Address(IpAddr),
    /// The Workers of one zone, by the first bytes of the SHA-256 of its name.
    WorkerZone([u8; 16]),
}

impl Source {
    /// The source of a request from this client address. The Workers of all other zones share one
    /// address, so they are counted by zone: one zone must not use up the limit of the others.
    #[must_use]
    pub fn of(ip: IpAddr, headers: &HeaderMap) -> Self {
        if ip != OTHER_ZONES_WORKERS {
            return Self::Address(abuse_key(ip));
        }
        let zone = headers.get(WORKER_ZONE).map_or(&b""[..], |zone| zone.as_bytes());
        let digest = Sha256::digest(zone.to_ascii_lowercase());
        let mut name = [0; 16];
        name.copy_from_slice(&digest[..16]);
        Self::WorkerZone(name)
    }
}

/// The address that abuse is counted by: an IPv4 address, or a /64 network of IPv6, the smallest
/// network that a subscriber gets.
#[must_use]
pub fn abuse_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// Whether a network contains an address; IPv4 addresses mapped to IPv6 count as IPv4.
#[must_use]
pub fn holds(network: &IpNet, ip: IpAddr) -> bool {
    canonical(network).contains(&ip.to_canonical())
}

/// A set of networks with a fast look-up: one binary search, however many networks there are.
#[derive(Debug, Clone, Default)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// The set of these.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        let networks: Vec<IpNet> = networks.iter().map(canonical).collect();
        // Aggregated networks are sorted and do not overlap.
        Self(IpNet::aggregate(&networks))
    }

    /// Whether an address is in one of them.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let after = self.0.partition_point(|network| network.network() <= ip);
        after.checked_sub(1).is_some_and(|place| self.0[place].contains(&ip))
    }
}

/// Converts a network of IPv4 addresses in IPv6 form, `::ffff:10.0.0.0/104`, to IPv4, since
/// addresses are looked up in that form.
fn canonical(network: &IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V4(_) => None,
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
    };
    mapped
        .and_then(|(address, prefix)| IpNet::new(IpAddr::V4(address), prefix).ok())
        .unwrap_or(*network)
}

fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let ip: IpAddr = text.parse().ok()?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn sets_of_networks() {
        let networks = ["198.51.100.0/24", "10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"];
        let set = Networks::new(&networks.map(|text| text.parse().expect("a network")));
        for inside in ["10.255.0.1", "198.51.100.9", "::ffff:10.0.0.1", "2001:db8:5::1"] {
            assert!(set.contains(ip(inside)), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "198.51.101.0", "2001:db9::1", "::1"] {
            assert!(!set.contains(ip(outside)), "{outside}");
        }
        assert!(!Networks::default().contains(ip("10.0.0.1")));
        let mapped = Networks::new(&["::ffff:10.0.0.0/104".parse().expect("a network")]);
        assert!(mapped.contains(ip("10.9.9.9")) && !mapped.contains(ip("11.0.0.0")));
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn found(peer: &str, pairs: &[(&'static str, &'static str)]) -> IpAddr {
        found_in(FORWARDED_FOR, peer, pairs)
    }

    fn found_in(header: &str, peer: &str, pairs: &[(&'static str, &'static str)]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let trusted = ["::ffff:10.0.0.0/104".parse().expect("a network")];
        client_ip(&headers, ip(peer), &Networks::new(&trusted), header)
    }

    #[test]
    fn headers_of_an_untrusted_peer_are_ignored() {
        let forged = [("x-forwarded-for", "1.1.1.1"), ("cf-connecting-ip", "1.1.1.1")];
        assert_eq!(found("192.0.2.1", &forged), ip("192.0.2.1"));
    }

    #[test]
    fn the_last_untrusted_entry_of_a_trusted_proxy_counts() {
        assert_eq!(found("10.0.0.1", &[]), ip("10.0.0.1"));
        let chain = [("x-forwarded-for", "6.6.6.6, 192.0.2.9, 10.1.1.1")];
        assert_eq!(found("10.0.0.1", &chain), ip("192.0.2.9"), "the client sent 6.6.6.6");
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.9")];
        assert_eq!(found("10.0.0.1", &lines), ip("192.0.2.9"));
        assert_eq!(found("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, x")]), ip("10.0.0.1"));
    }

    #[test]
    fn only_the_header_that_is_configured_counts() {
        let both = [("cf-connecting-ip", "2001:db8::5"), ("x-forwarded-for", "192.0.2.9")];
        assert_eq!(
            found("10.0.0.1", &both),
            ip("192.0.2.9"),
            "a client may have written the other"
        );
        let named = |peer, pairs: &_| found_in("CF-Connecting-IP", peer, pairs);
        assert_eq!(named("10.0.0.1", &both), ip("2001:db8::5"));
        assert_eq!(named("192.0.2.1", &both), ip("192.0.2.1"), "the peer is not trusted");
        assert_eq!(named("10.0.0.1", &[("x-forwarded-for", "192.0.2.9")]), ip("10.0.0.1"));
        let twice = [("cf-connecting-ip", "192.0.2.7"), ("cf-connecting-ip", "192.0.2.8")];
        assert_eq!(named("10.0.0.1", &twice), ip("10.0.0.1"));
    }

    #[test]
    fn foreign_workers_are_counted_by_their_zone() {
        let of = |address: &str, zone: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("cf-worker", HeaderValue::from_static(zone));
            Source::of(ip(address), &headers)
        };
        let shared = "2a06:98c0:3600::103";
        assert_ne!(of(shared, "a.example"), of(shared, "b.example"));
        assert_eq!(of(shared, "A.example"), of(shared, "a.example"));
        assert_ne!(
            of(shared, ""),
            of("2a06:98c0:3600::104", ""),
            "the shared address is not counted by its network"
        );
        assert_eq!(of("192.0.2.1", "a.example"), Source::Address(ip("192.0.2.1")));
        assert_eq!(
            of("192.0.2.1", "b.example"),
            of("192.0.2.1", "a.example"),
            "from any other address the header is ignored"
        );
    }

    #[test]
    fn abuse_counts_v6_by_subscriber() {
        assert_eq!(abuse_key(ip("2001:db8:0:1:a:b:c:d")), ip("2001:db8:0:1::"));
        assert_eq!(abuse_key(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
