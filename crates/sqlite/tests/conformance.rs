//! The embedded store passes the conformance suite in both durability modes.

use std::cell::RefCell;

use driftlock_domain::config::Durability;
use driftlock_sqlite::{Options, SqliteStore};
use driftlock_testkit::conformance;

#[test]
fn in_both_durability_modes() {
    for durability in [Durability::Fsync, Durability::Process] {
        let folders = RefCell::new(Vec::new());
        let cases = conformance::run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let options = Options { durability, ..Options::default() };
            let store = SqliteStore::open(&folder.path().join("a.db"), options).expect("opens");
            folders.borrow_mut().push(folder);
            store
        });
        assert_eq!(cases, folders.into_inner().len());
        eprintln!("{cases} cases over SQLite, {durability:?}");
    }
}
