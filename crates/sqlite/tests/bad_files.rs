//! Files that cannot be opened, and one that is full.

use std::path::Path;

use driftlock_domain::denial::FaultKind;
use driftlock_domain::period::Period;
use driftlock_domain::usage::{Grouping, Settled};
use driftlock_gateway::ports::{AuditLog, Ledger, UsageRecords};
use driftlock_sqlite::{OpenError, Options, SqliteStore};
use driftlock_testkit::make::{ask, audit, node, now, organization_id, settlement};
use futures_executor::block_on;

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, Options::default())
}

#[test]
fn a_refused_process_learns_the_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let first = open(&path).expect("opens");
    let refused = open(&path).expect_err("it is owned");
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("served by this process"), "{refused}");
    let node = first.node();
    drop(first);
    assert_eq!(open(&path).expect("it was given up").node(), node, "the node keeps its id");
}

#[cfg(unix)]
#[test]
fn links_to_a_file_lead_to_one_owner() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    std::fs::create_dir(place("data")).expect("made");
    symlink(place("data/a.db"), place("link.db")).expect("linked");
    symlink(place("data"), place("other")).expect("linked");
    for (first, second) in [
        ("link.db", "data/a.db"),
        ("data/a.db", "link.db"),
        ("other/a.db", "link.db"),
        ("data/../other/a.db", "data/a.db"),
    ] {
        let owner = open(&place(first)).expect("opens, although a link led to nothing at first");
        let refused = open(&place(second)).expect_err("it is owned");
        assert!(matches!(refused, OpenError::Locked { .. }), "{first}, {second}: {refused}");
        drop(owner);
    }
}

#[test]
fn a_file_that_is_no_database_is_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let text = "this is no database, but somebody's notes\n".repeat(100);
    std::fs::write(&path, &text).expect("written");
    let refused = open(&path).expect_err("it is none");
    assert!(matches!(refused, OpenError::Corrupt(_)), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
}

/// The header is intact but a later page is damaged: this is found at the start.
#[test]
fn damaged_pages_are_found_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let store = open(&path).expect("opens");
    block_on(store.lease(organization_id(1), node(1), &ask(None, 0, 1), now())).expect("leased");
    for number in 0..200 {
        block_on(store.settle(settlement(1, number), now())).expect("settled");
    }
    drop(store);
    let sound = std::fs::read(&path).expect("read");
    // Any page may be damaged, except the first one with the header.
    let pages = sound.len() / 4_096;
    for page in 1..pages {
        let mut damaged = sound.clone();
        damaged[page * 4_096..(page + 1) * 4_096].fill(0xa5);
        std::fs::write(&path, &damaged).expect("written");
        let refused = open(&path).expect_err("a page is gone");
        let (message, name) = (refused.to_string(), path.display().to_string());
        assert!(
            matches!(refused, OpenError::Damaged { .. } | OpenError::Corrupt(_)),
            "page {page}: {message}"
        );
        assert!(
            message.contains(&name) && message.contains("restore it from a backup"),
            "{message}"
        );
    }
    std::fs::write(&path, &sound[..sound.len() / 2]).expect("written");
    open(&path).expect_err("half of it is gone");
    std::fs::write(&path, &sound).expect("written");
    drop(open(&path).expect("it is as it was"));
}

#[test]
fn a_later_schema_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    drop(open(&path).expect("opens"));
    let raw = rusqlite::Connection::open(&path).expect("opens");
    raw.pragma_update(None, "user_version", 99).expect("written");
    drop(raw);
    let refused = open(&path).expect_err("too new");
    assert!(matches!(refused, OpenError::TooNew { found: 99, .. }), "{refused}");
}

#[test]
fn a_full_disk_charges_nothing_and_room_heals_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let full = Options { pages_max: Some(64), ..Options::default() };
    let store = SqliteStore::open(&path, full).expect("opens");
    let organization = organization_id(1);
    block_on(store.lease(organization, node(1), &ask(None, 0, 1), now())).expect("leased");
    let mut committed = 0;
    let fault = loop {
        let one = settlement(1, committed);
        match block_on(store.settle(one, now())) {
            Ok(Settled::Committed { .. }) => committed += 1,
            Ok(not) => panic!("there is no cap, and each is new: {not:?}"),
            Err(fault) => break fault,
        }
        assert!(committed < 10_000, "the disk never filled up");
    };
    assert_eq!(fault.kind, FaultKind::Store);
    let usage =
        block_on(store.usage(organization, now(), Period::calendar_month(now()), Grouping::Day))
            .expect("reads go on");
    assert_eq!(usage.expect("some").units, committed);
    assert_eq!(block_on(store.head(organization)).expect("read").seq, committed);
    drop(store);

    let store = open(&path).expect("opens");
    block_on(store.lease(organization, node(1), &ask(None, 0, 1), now())).expect("leased");
    let again = block_on(store.settle(settlement(1, committed), now())).expect("there is room");
    assert!(matches!(again, Settled::Committed { .. }));
    block_on(store.append(vec![(organization, audit("after"))])).expect("written");
    assert_eq!(block_on(store.head(organization)).expect("read").seq, committed + 2);
}

#[test]
fn expired_idempotency_records_are_deleted_in_short_portions() {
    use driftlock_domain::idempotency::{Claim, Fingerprint, IdempotencyKey, KEPT_SECS};
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder.path().join("a.db")).expect("opens");
    block_on(store.lease(organization_id(1), node(1), &ask(None, 0, 1), now())).expect("leased");
    let records = 600_u64;
    for number in 0..records {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let claim = Claim { key: IdempotencyKey(key), fingerprint: Fingerprint([1; 32]) };
        let mut one = settlement(1, number);
        one.claim = Some(claim);
        block_on(store.settle(one, now())).expect("settled");
    }
    let later = now().plus(std::time::Duration::from_secs(KEPT_SECS + 1));
    let mut portions = Vec::new();
    while portions.last() != Some(&0) {
        portions.push(block_on(store.purge_kept(later)).expect("purged"));
    }
    assert_eq!(portions.iter().sum::<u64>(), records);
    assert!(portions.iter().all(|portion| *portion <= 256), "{portions:?}");
}
