//! I6 over SQLite: lives of `crates/testkit/tests/stripe_lives.rs`, fewer of them, since each has a
//! file of its own. `DRIFTLOCK_LIVES` sets how many.

use driftlock_domain::config::Durability;
use driftlock_sqlite::{Options, SqliteStore};
use driftlock_testkit::sim::{Asking, Course, EventContent, live};

#[test]
fn any_order_with_restarts_results_in_stripes_state() {
    let lives = std::env::var("DRIFTLOCK_LIVES").ok().and_then(|text| text.parse().ok());
    let lives: u64 = lives.unwrap_or(15);
    for seed in 0..lives {
        for asking in [Asking::Offline, Asking::Online] {
            let directory = tempfile::tempdir().expect("a directory");
            let options = Options { durability: Durability::Process, ..Options::default() };
            let store = SqliteStore::open(&directory.path().join("a.db"), options).expect("opened");
            let course = live(&store, seed, seed % 5, asking, EventContent::Whole);
            assert_eq!(course, Course::Right, "seed {seed}, {asking:?}");
        }
    }
}
