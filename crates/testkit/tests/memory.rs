//! The store in memory passes the conformance suite, with whole leases and with chunks.

use std::time::Duration;

use driftlock_domain::lease::Sharing;
use driftlock_gateway::memory::MemoryStore;
use driftlock_testkit::conformance;

#[test]
fn whole_and_in_chunks() {
    let cases = conformance::run(|| MemoryStore::new(Sharing::Whole));
    let chunks = Sharing::Chunks { ttl: Duration::from_secs(2) };
    assert_eq!(conformance::run(|| MemoryStore::new(chunks)), cases);
    let shared = conformance::run_shared(|| MemoryStore::new(chunks));
    eprintln!("{cases} cases over the reference store, {shared} of shared ones");
}
