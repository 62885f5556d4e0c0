//! Addresses: headers of an untrusted peer do not change its address, and a list of networks
//! contains exactly the addresses of its networks.
//!
//! Each line of the input is used as a header, a network and an address, as far as it parses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use driftlock_domain::address::{FORWARDED_FOR, Networks, abuse_key, client_ip};
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::KeyRecord;
use driftlock_domain::time::Timestamp;
use ipnet::IpNet;

use crate::lines;

/// # Panics
/// If a header of an untrusted peer changes its address, or a network contains a wrong address.
pub fn check(bytes: &[u8]) {
    let headers = lines::headers(bytes);
    let stranger = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    let trusted = Networks::new(&["127.0.0.0/8".parse().expect("a network")]);
    assert_eq!(client_ip(&headers, stranger, &trusted, FORWARDED_FOR), stranger);
    let forwarded = client_ip(&headers, Ipv4Addr::LOCALHOST.into(), &trusted, FORWARDED_FOR);
    assert_eq!(forwarded, forwarded.to_canonical());
    let text = String::from_utf8_lossy(bytes);
    let networks: Vec<IpNet> = text.lines().take(64).filter_map(|line| line.parse().ok()).collect();
    let mut octets = [0; 16];
    bytes.iter().zip(&mut octets).for_each(|(from, to)| *to = *from);
    let mut addresses = vec![forwarded, IpAddr::V6(Ipv6Addr::from(octets))];
    addresses.extend(text.lines().take(64).filter_map(|line| line.parse::<IpAddr>().ok()));
    addresses.extend(networks.iter().flat_map(edges));
    let set = Networks::new(&networks);
    for ip in addresses {
        let key = abuse_key(ip);
        assert_eq!(abuse_key(key), key, "{ip} has one key");
        assert!(!Networks::new(&[]).contains(ip));
        let wanted = networks.iter().any(|net| holds(net, ip));
        assert_eq!(set.contains(ip), wanted, "{ip} in {networks:?}");
        let allowed = record(&networks).check(Timestamp::default(), ip, None).is_ok();
        assert_eq!(allowed, wanted || networks.is_empty(), "{ip} in {networks:?}");
        let believed = client_ip(&headers, ip, &set, "cf-connecting-ip");
        assert!(wanted || believed == ip.to_canonical(), "{ip} is not a proxy of {networks:?}");
    }
}

/// Whether a network contains an address, compared bit by bit; IPv4 mapped to IPv6 counts as IPv4.
fn holds(net: &IpNet, ip: IpAddr) -> bool {
    let (net, prefix) = match (net.addr(), net.addr().to_canonical(), net.prefix_len()) {
        (IpAddr::V6(_), mapped @ IpAddr::V4(_), prefix) if prefix >= 96 => (mapped, prefix - 96),
        (net, _, prefix) => (net, prefix),
    };
    match (net, ip.to_canonical()) {
        (IpAddr::V4(net), IpAddr::V4(ip)) => {
            (net.to_bits() ^ ip.to_bits()).leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V6(net), IpAddr::V6(ip)) => {
            (net.to_bits() ^ ip.to_bits()).leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// The first and the last address of a network, and the addresses just outside.
fn edges(net: &IpNet) -> Vec<IpAddr> {
    let step = |ip: IpAddr, by: i8| -> IpAddr {
        match ip {
            IpAddr::V4(v4) => Ipv4Addr::from(v4.to_bits().wrapping_add_signed(by.into())).into(),
            IpAddr::V6(v6) => Ipv6Addr::from(v6.to_bits().wrapping_add_signed(by.into())).into(),
        }
    };
    let (first, last) = (net.network(), net.broadcast());
    vec![first, last, step(first, -1), step(last, 1)]
}

fn record(ip_allow: &[IpNet]) -> KeyRecord {
    KeyRecord {
        id: KeyId::from_bytes([1; 16]),
        organization: OrganizationId::from_bytes([2; 16]),
        name: String::new(),
        prefix: String::new(),
        scopes: Vec::new(),
        requests_per_minute: None,
        ip_allow: ip_allow.to_vec(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        created_at: Timestamp::default(),
    }
}
