//! Who may call: random histories against a second implementation of the table in `docs/stripe.md`,
//! over the store in memory. The same over SQLite and PostgreSQL: the tests `may_call` of those
//! crates.
//!
//! `DRIFTLOCK_HISTORIES` sets how many, `DRIFTLOCK_SEED` where they begin.

use driftlock_domain::lease::Sharing;
use driftlock_gateway::memory::MemoryStore;
use driftlock_testkit::may_call::{Asked, check, histories};

#[test]
fn every_history_is_decided_as_the_table_says() {
    let mut sum = Asked::default();
    let seeds = histories(150);
    let count = seeds.clone().count();
    for seed in seeds {
        let asked = check(&MemoryStore::new(Sharing::Whole), seed);
        sum.decisions += asked.decisions;
        sum.refused += asked.refused;
    }
    eprintln!("figure histories in memory = {count}");
    eprintln!("figure decisions compared in memory = {}", sum.decisions);
    eprintln!("figure refusals among them in memory = {}", sum.refused);
    assert!(sum.refused > 0 && sum.refused < sum.decisions, "both outcomes occur: {sum:?}");
}
