//! Whose address a request comes from, and what an abuse limit counts by.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

/// Entries of `X-Forwarded-For` that are looked at: no chain of proxies is longer.
const HOPS_MAX: usize = 32;

/// The header that names the client, where no other is configured.
pub const FORWARDED_FOR: &str = "X-Forwarded-For";

/// The client's address: the peer's, unless the peer is a trusted proxy. Then it is what the header
/// `told_in` says: of `X-Forwarded-For` the last entry that is no trusted proxy itself, of another
/// one (`CF-Connecting-IP`) the one address in it. No header but that counts: what a proxy does not
/// write itself it passes on as the client wrote it.
#[must_use]
pub fn client_ip(headers: &HeaderMap, peer: IpAddr, trusted: &Networks, told_in: &str) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    if !told_in.eq_ignore_ascii_case(FORWARDED_FOR) {
        let mut lines = headers.get_all(told_in).iter();
        let told = lines.next().and_then(|line| address(line.as_bytes()));
        return told.filter(|_| lines.next().is_none()).unwrap_or(peer);
    }
    let mut nearest = peer;
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    for hop in lines.flat_map(|line| line.as_bytes().rsplit(|b| *b == b',')).take(HOPS_MAX) {
        // Whatever stands before an unreadable entry was not written by a proxy of ours.
        let Some(ip) = address(hop) else { break };
        nearest = ip;
        if !trusted.contains(ip) {
            break;
        }
    }
    nearest
}

/// The one address that Cloudflare gives to all Workers of zones that are not the gateway's own:
/// <https://developers.cloudflare.com/fundamentals/reference/http-headers/#cf-connecting-ip-in-worker-subrequests>.
pub const OTHER_ZONES_WORKERS: IpAddr =
    IpAddr::V6(Ipv6Addr::new(0x2a06, 0x98c0, 0x3600, 0, 0, 0, 0, 0x103));
/// The header in which Cloudflare names the zone of such a Worker. A Worker cannot change it.
const WORKER_ZONE: &str = "cf-worker";

/// Who an abuse limit counts requests of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A client address; see [`abuse_key`].
    Address(IpAddr),
    /// The Workers of one zone, by the first bytes of the SHA-256 of its name.
    WorkerZone([u8; 16]),
}

impl Source {
    /// The source of a request of this client address. All foreign Workers share one address, so
    /// they are counted by their zone: one zone that misbehaves must not use up the others' limit.
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

/// What abuse is counted by: an IPv4 address, or an IPv6 network of 64 bits, which is the least
/// that one subscriber gets.
#[must_use]
pub fn abuse_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// Whether a network holds an address, however each of the two is written.
#[must_use]
pub fn holds(network: &IpNet, ip: IpAddr) -> bool {
    canonical(network).contains(&ip.to_canonical())
}

/// A set of networks that is asked often: one search, however many there are.
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

/// A network of IPv4 addresses written as IPv6 ones, `::ffff:10.0.0.0/104`, is the one of IPv4:
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

    fn found_in(told_in: &str, peer: &str, pairs: &[(&'static str, &'static str)]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let trusted = ["::ffff:10.0.0.0/104".parse().expect("a network")];
        client_ip(&headers, ip(peer), &Networks::new(&trusted), told_in)
    }

    #[test]
    fn strangers_say_nothing_about_themselves() {
        let forged = [("x-forwarded-for", "1.1.1.1"), ("cf-connecting-ip", "1.1.1.1")];
        assert_eq!(found("192.0.2.1", &forged), ip("192.0.2.1"));
    }

    #[test]
    fn a_trusted_proxy_is_believed_as_far_as_it_can_know() {
        assert_eq!(found("10.0.0.1", &[]), ip("10.0.0.1"));
        let chain = [("x-forwarded-for", "6.6.6.6, 192.0.2.9, 10.1.1.1")];
        assert_eq!(found("10.0.0.1", &chain), ip("192.0.2.9"), "6.6.6.6 is the client's own word");
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.9")];
        assert_eq!(found("10.0.0.1", &lines), ip("192.0.2.9"));
        assert_eq!(found("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, x")]), ip("10.0.0.1"));
    }

    #[test]
    fn only_the_header_that_is_configured_counts() {
        let told = [("cf-connecting-ip", "2001:db8::5"), ("x-forwarded-for", "192.0.2.9")];
        assert_eq!(
            found("10.0.0.1", &told),
            ip("192.0.2.9"),
            "a client may have written the other"
        );
        let named = |peer, pairs: &_| found_in("CF-Connecting-IP", peer, pairs);
        assert_eq!(named("10.0.0.1", &told), ip("2001:db8::5"));
        assert_eq!(named("192.0.2.1", &told), ip("192.0.2.1"), "a stranger says nothing");
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
            "it counts apart from its network"
        );
        assert_eq!(of("192.0.2.1", "a.example"), Source::Address(ip("192.0.2.1")));
        assert_eq!(
            of("192.0.2.1", "b.example"),
            of("192.0.2.1", "a.example"),
            "a client's own word"
        );
    }

    #[test]
    fn abuse_counts_v6_by_subscriber() {
        assert_eq!(abuse_key(ip("2001:db8:0:1:a:b:c:d")), ip("2001:db8:0:1::"));
        assert_eq!(abuse_key(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
