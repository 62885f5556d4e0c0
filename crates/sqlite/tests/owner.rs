//! A file has one owner under all its names, and an owner that lost its file stops.

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use driftlock_domain::denial::FaultKind;
use driftlock_domain::period::Period;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::Grouping;
use driftlock_gateway::ports::{Directory, Ledger, UsageRecords};
use driftlock_sqlite::{OpenError, Options, SqliteStore};
use driftlock_testkit::make::{ask, node, now, organization_id, settlement};
use futures_executor::block_on;

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, Options::default())
}

fn lease(store: &SqliteStore) {
    block_on(store.lease(organization_id(1), node(1), &ask(None, 0, 1), now())).expect("leased");
}

fn units(store: &SqliteStore) -> u64 {
    let period = Period::calendar_month(now());
    let usage = block_on(store.usage(organization_id(1), now(), period, Grouping::Day));
    usage.expect("read").map_or(0, |usage| usage.units)
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().canonicalize().expect("it is there").join("a.db");
    (folder, path)
}

/// The other process: opens the file, prints why it was refused, or settles three units and dies.
fn open_settle_and_die(path: &Path) {
    match open(path) {
        Err(error) => eprintln!("REFUSED {error}"),
        Ok(store) => {
            lease(&store);
            for number in 0..3 {
                block_on(store.settle(settlement(1, number), now())).expect("settled");
            }
            std::process::abort();
        }
    }
}

/// The message to another process that opens the file by this name.
fn refusal(path: &Path) -> String {
    let output = process::run("another_process_is_refused_by_every_name_of_the_file", path);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("REFUSED"), "it was let in: {text}");
    text
}

#[test]
fn another_process_is_refused_by_every_name_of_the_file() {
    if let Some(path) = process::role() {
        return open_settle_and_die(&path);
    }
    let (folder, path) = folder();
    let store = open(&path).expect("opens");
    lease(&store);
    block_on(store.settle(settlement(1, 1), now())).expect("settled");
    let hard = folder.path().join("hard.db");
    fs::hard_link(&path, &hard).expect("linked");
    let soft = folder.path().join("soft.db");
    std::os::unix::fs::symlink(&path, &soft).expect("linked");
    let bound = folder.path().join("bound.db");
    fs::write(&bound, "").expect("made");
    let mounted = Command::new("mount").arg("--bind").arg(&path).arg(&bound).output();
    let is_mounted = mounted.is_ok_and(|output| output.status.success());
    let mut names = vec![&path, &hard, &soft];
    if is_mounted {
        names.push(&bound);
    } else {
        eprintln!("NOT TESTED: bind mounts, which this system refuses; hard links stand for them");
    }
    let refusals: Vec<String> = names.into_iter().map(|name| refusal(name)).collect();
    if is_mounted {
        let done = Command::new("umount").arg(&bound).status().expect("it runs");
        assert!(done.success(), "unmounted");
    }
    for text in refusals {
        let owner = format!("process {}", std::process::id());
        assert!(text.contains(&owner) && text.contains("which opened it as"), "{text}");
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("stop that process first"), "{text}");
    }
    block_on(store.settle(settlement(1, 2), now())).expect("the owner continues");
    assert_eq!(units(&store), 2);
}

#[test]
fn no_file_whose_removal_lets_another_process_in() {
    let (folder, path) = folder();
    let store = open(&path).expect("opens");
    for entry in fs::read_dir(folder.path()).expect("listed") {
        let name = entry.expect("listed").path();
        // If these are removed, the owner stops; see the tests below.
        if name != path && !name.ends_with("a.db-wal") {
            fs::remove_file(&name).expect("removed");
        }
    }
    refusal(&path);
    lease(&store);
}

#[test]
fn after_a_crash_the_same_machine_takes_over_at_once() {
    let (_folder, path) = folder();
    let output = process::run("another_process_is_refused_by_every_name_of_the_file", &path);
    assert!(!output.status.success(), "it died");
    let store = open(&path).expect("nothing blocks the restart");
    assert_eq!(units(&store), 3, "all that was acknowledged is there");
}

fn stops(store: &SqliteStore, why: &str) {
    let refused = block_on(store.settle(settlement(1, 9), now())).expect_err("the file is lost");
    assert_eq!(refused.kind, FaultKind::Store, "a 503: {refused:?}");
    assert!(refused.cause.contains(why), "{refused:?}");
    block_on(store.ready()).expect_err("not ready");
    block_on(store.organization(organization_id(1))).expect_err("nothing is read any more");
}

#[test]
fn an_owner_whose_file_is_moved_stops_until_a_restart() {
    let (folder, path) = folder();
    let store = open(&path).expect("opens");
    lease(&store);
    block_on(store.settle(settlement(1, 1), now())).expect("settled");
    let elsewhere = folder.path().join("b.db");
    fs::rename(&path, &elsewhere).expect("moved");
    stops(&store, "was moved or deleted");
    fs::rename(&elsewhere, &path).expect("moved back");
    stops(&store, "was moved or deleted");
    drop(store);
    let store = open(&path).expect("opens");
    assert_eq!(units(&store), 1, "what was refused is not there, and nothing else is missing");
}

#[test]
fn an_owner_whose_file_or_log_is_replaced_or_deleted_stops() {
    for (name, replaced, why) in [
        ("a.db", true, "another file now"),
        ("a.db", false, "was moved or deleted"),
        ("a.db-wal", true, "another file now"),
        ("a.db-wal", false, "was moved or deleted"),
    ] {
        let (folder, path) = folder();
        let store = open(&path).expect("opens");
        lease(&store);
        let name = folder.path().join(name);
        // Create the new file first; otherwise it could get the old inode.
        let other = folder.path().join("other");
        fs::write(&other, "").expect("written");
        if replaced {
            fs::rename(&other, &name).expect("replaced");
        } else {
            fs::remove_file(&name).expect("removed");
        }
        stops(&store, why);
    }
}

#[test]
fn an_owner_whose_row_another_took_over_stops() {
    let (_folder, path) = folder();
    let store = open(&path).expect("opens");
    lease(&store);
    let raw = rusqlite::Connection::open(&path).expect("opens");
    raw.execute("UPDATE store_owner SET owner = randomblob(16)", ()).expect("taken over");
    stops(&store, "another process has taken the database over");
}

/// Writes another machine into the row, with a claim until `until`.
fn claim_elsewhere(path: &Path, until: Timestamp) -> rusqlite::Connection {
    let raw = rusqlite::Connection::open(path).expect("opens");
    let update = "UPDATE store_owner SET machine = 'elsewhere', boot = 'other', renewed_until = ?1";
    raw.execute(update, [until.micros()]).expect("written");
    raw
}

fn wall() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    Timestamp::default().plus(since)
}

#[test]
fn another_machines_claim_is_waited_for_and_respected() {
    let (_folder, path) = folder();
    drop(open(&path).expect("opens"));
    let raw = claim_elsewhere(&path, wall().plus(Duration::from_millis(200)));
    drop(open(&path).expect("it expired meanwhile"));
    raw.execute("UPDATE store_owner SET machine = 'elsewhere', boot = 'other'", ()).expect("set");
    raw.execute("UPDATE store_owner SET renewed_until = ?1", [wall().micros() + 1_500_000])
        .expect("set");
    let (begin, begun) = std::sync::mpsc::channel();
    let renewing = std::thread::spawn(move || {
        begin.send(()).expect("waited for");
        // Commit while the other process waits, at any time: the test does not depend on speed.
        for _ in 0..40 {
            raw.execute("UPDATE store_owner SET commits = commits + 1", ()).expect("renewed");
            std::thread::sleep(Duration::from_millis(25));
        }
    });
    begun.recv().expect("begun");
    let refused = open(&path).expect_err("the other machine lives");
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("on elsewhere"), "{refused}");
    renewing.join().expect("it did not fail");
}
