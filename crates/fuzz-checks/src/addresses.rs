//! The client's address: what a stranger claims is not believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use driftlock_domain::address::{Networks, abuse_key, client_ip};

use crate::lines;

/// # Panics
/// If a header of an untrusted peer changes its address.
pub fn check(bytes: &[u8]) {
    let headers = lines::headers(bytes);
    let mut octets = [0; 16];
    bytes.iter().zip(&mut octets).for_each(|(from, to)| *to = *from);
    let stranger = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let trusted = ["127.0.0.0/8".parse().unwrap_or_else(|_| panic!("a network"))];
    assert_eq!(client_ip(&headers, stranger, &trusted), stranger);
    let told = client_ip(&headers, proxy, &trusted);
    for ip in [told, IpAddr::V6(Ipv6Addr::from(octets))] {
        let key = abuse_key(ip);
        assert_eq!(abuse_key(key), key, "{ip} has one key");
        let everything: Vec<_> =
            ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()).collect();
        assert!(Networks::new(&everything).contains(ip));
        assert!(!Networks::new(&[]).contains(ip));
    }
}
