//! A damaged or missing write-ahead log: a start reports what is missing, and does not serve.

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::path::{Path, PathBuf};

use driftlock_domain::config::Durability;
use driftlock_domain::period::Period;
use driftlock_domain::store_file::commitment::Incomplete;
use driftlock_domain::usage::Grouping;
use driftlock_gateway::ports::{Ledger, UsageRecords};
use driftlock_sqlite::{OpenError, Options, SqliteStore, inspect};
use driftlock_testkit::make::{ask, node, now, organization_id, settlement};
use futures_executor::block_on;

const UNITS: u64 = 20;

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, Options::default())
}

fn accepting(path: &Path, number: u64) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, Options { accept_missing: Some(number), ..Options::default() })
}

fn units(store: &SqliteStore) -> u64 {
    let period = Period::calendar_month(now());
    let usage = block_on(store.usage(organization_id(1), now(), period, Grouping::Day));
    usage.expect("read").map_or(0, |usage| usage.units)
}

/// The other process: settles units, a commit each, and dies without closing the file.
fn settle_and_die(path: &Path) {
    let durability = match path.file_name().is_some_and(|name| name == "process.db") {
        true => Durability::Process,
        false => Durability::Fsync,
    };
    let store =
        SqliteStore::open(path, Options { durability, ..Options::default() }).expect("opens");
    block_on(store.lease(organization_id(1), node(1), &ask(None, 0, 1), now())).expect("leased");
    for number in 0..UNITS {
        block_on(store.settle(settlement(1, number), now())).expect("settled");
    }
    std::process::abort();
}

/// The files that a killed gateway left.
struct Left {
    _folder: tempfile::TempDir,
    path: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Left {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("it is there").join(name);
        assert!(
            !process::run("a_killed_gateway_starts_again_with_all_of_it", &path).status.success(),
            "it died"
        );
        let files = ["", "-wal", "-commit"].map(|suffix| {
            let file = with(&path, suffix);
            let bytes = fs::read(&file).expect("it was left");
            (file, bytes)
        });
        Self { _folder: folder, path, files: files.into() }
    }

    /// Puts all files back as they were left.
    fn restore(&self) {
        let _ = fs::remove_file(with(&self.path, "-shm"));
        for (file, bytes) in &self.files {
            fs::write(file, bytes).expect("written");
        }
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn incomplete(refused: OpenError) -> Incomplete {
    match refused {
        OpenError::Incomplete { incomplete, .. } => incomplete,
        other => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn a_killed_gateway_starts_again_with_all_of_it() {
    if let Some(path) = process::role() {
        return settle_and_die(&path);
    }
    for name in ["fsync.db", "process.db"] {
        let left = Left::new(name);
        inspect(&left.path, None).expect("check finds nothing");
        assert_eq!(units(&open(&left.path).expect("opens")), UNITS, "{name}");
    }
}

#[test]
fn a_flipped_bit_in_the_log_loses_nothing_in_silence() {
    let left = Left::new("a.db");
    let log = left.files[1].1.len();
    let (mut refused, mut whole) = (0, 0);
    for step in 0..48 {
        left.restore();
        let place = step * log / 48 + 17;
        let mut damaged = left.files[1].1.clone();
        damaged[place] ^= 1 << (step % 8);
        fs::write(&left.files[1].0, &damaged).expect("written");
        match open(&left.path) {
            Ok(store) => {
                assert_eq!(units(&store), UNITS, "units are lost in silence, byte {place}");
                whole += 1;
            }
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("commits are missing"), "{said}");
                assert!(said.contains("--accept-missing-commits"), "{said}");
                assert_eq!(fs::read(&left.files[1].0).expect("read"), damaged, "the log is kept");
                refused += 1;
            }
        }
    }
    eprintln!("of 48 flipped bits {refused} were refused, {whole} were in no commit");
    assert!(refused > 0);
    left.restore();
    assert_eq!(units(&open(&left.path).expect("the mended log is read")), UNITS);
}

#[test]
fn a_missing_log_is_stated_with_its_units() {
    let left = Left::new("a.db");
    fs::remove_file(&left.files[1].0).expect("removed");
    let _ = fs::remove_file(with(&left.path, "-shm"));
    let found = incomplete(inspect(&left.path, None).expect_err("check finds it"));
    let refused = open(&left.path).expect_err("serve finds it");
    let said = refused.to_string();
    assert!(said.contains("with 20 settled requests and 20 units"), "{said}");
    let missing = incomplete(refused);
    assert_eq!(missing, found);
    let number = missing.acceptance();
    accepting(&left.path, number - 1).expect_err("another loss than the accepted one");
    let store = accepting(&left.path, number).expect("accepted");
    assert_eq!(units(&store), 0);
    drop(store);
    drop(open(&left.path).expect("accepted once is enough"));
    accepting(&left.path, number).expect("a number that stays in a unit file does no harm");
}

#[test]
fn a_database_without_its_statement_is_refused() {
    let left = Left::new("a.db");
    fs::remove_file(&left.files[2].0).expect("removed");
    let missing = incomplete(open(&left.path).expect_err("refused"));
    assert!(matches!(missing, Incomplete::NoCommitment(_)), "{missing}");
    fs::write(&left.files[2].0, [0; 8_192]).expect("written");
    let missing = incomplete(open(&left.path).expect_err("refused"));
    assert!(matches!(missing, Incomplete::DamagedCommitment(_)), "{missing}");
    let store = accepting(&left.path, missing.acceptance()).expect("accepted");
    assert_eq!(units(&store), UNITS);
}

#[test]
fn a_backup_that_is_restored_is_accepted_by_its_number() {
    let left = Left::new("a.db");
    let store = open(&left.path).expect("opens");
    let copy = with(&left.path, "-copy");
    let raw = rusqlite::Connection::open(&left.path).expect("opens");
    raw.execute("VACUUM INTO ?1", [copy.to_str().expect("text")]).expect("copied");
    drop(raw);
    block_on(store.lease(organization_id(1), node(1), &ask(None, 0, 1), now())).expect("leased");
    for number in 0..5 {
        block_on(store.settle(settlement(1, UNITS + number), now())).expect("settled");
    }
    drop(store);
    fs::rename(&copy, &left.path).expect("restored");
    let refused = open(&left.path).expect_err("five units are missing");
    let said = refused.to_string();
    assert!(said.contains("with 5 settled requests and 5 units"), "{said}");
    let store = accepting(&left.path, incomplete(refused).acceptance()).expect("accepted");
    assert_eq!(units(&store), UNITS);
}
