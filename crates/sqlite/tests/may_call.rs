//! Who may call: the histories of `crates/testkit/tests/may_call.rs` over SQLite and over memory,
//! each in a store of its own. `DRIFTLOCK_HISTORIES` sets how many; `cargo xtask prove may-call`
//! runs 2,000.

use driftlock_domain::config::Durability;
use driftlock_domain::lease::Sharing;
use driftlock_gateway::memory::MemoryStore;
use driftlock_sqlite::{Options, SqliteStore};
use driftlock_testkit::may_call::{Asked, check, histories};

#[test]
fn every_history_is_decided_as_the_table_says_whatever_the_store() {
    let (mut count, mut sum) = (0, Asked::default());
    for seed in histories(20) {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options { durability: Durability::Process, ..Options::default() };
        let store = SqliteStore::open(&directory.path().join("a.db"), options).expect("opened");
        let asked = check(&store, seed);
        assert_eq!(asked, check(&MemoryStore::new(Sharing::Whole), seed), "seed {seed}");
        count += 1;
        sum.decisions += asked.decisions;
        sum.refused += asked.refused;
    }
    eprintln!("figure histories over SQLite and memory = {count}");
    eprintln!("figure decisions compared, per store = {}", sum.decisions);
    eprintln!("figure refusals among them = {}", sum.refused);
    eprintln!("figure decisions that differ from the table = 0");
    assert!(sum.refused > 0 && sum.refused < sum.decisions, "both outcomes occur: {sum:?}");
}
