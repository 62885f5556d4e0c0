//! The row `store_owner`: taking ownership of the file, and updating the row in every commit.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use driftlock_domain::config::Durability;
use driftlock_domain::denial::Fault;
use driftlock_domain::store_file::commitment::{Finding, History, Stated, compare};
use driftlock_domain::store_file::owner::{Claim, LEASE, Owner, claim};
use driftlock_domain::time::Timestamp;
use driftlock_sqlite_core::{Group, Sql};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::guard::FileGuard;
use crate::machine;
use crate::open::OpenError;
use crate::side_file::{self, SideFile};
use crate::sql::Native;

/// The row as stored.
struct Row {
    owner: Owner,
    renewed_until: Option<Timestamp>,
    history: History,
}

/// This process's claim on an open file.
#[derive(Debug)]
pub(crate) struct Holder {
    owner: Owner,
    history: History,
    /// The history after the current transaction.
    next: History,
    side: SideFile,
    guard: FileGuard,
    /// The time of the last commit before this process.
    last_commit: Option<Timestamp>,
}

/// Waits until no other machine serves the file, and compares the database's history with the file
/// `DATABASE-commit`. Writes nothing.
pub(crate) fn examine(
    connection: &Connection,
    path: &Path,
    own: &Owner,
    accepted: Option<u64>,
) -> Result<Stated, OpenError> {
    let failed = |error| OpenError::of(path, error);
    await_expiry(connection, path, own)?;
    let stated =
        side_file::read(path).map_err(|error| OpenError::Io(side_file::path(path), error))?;
    let found = read(connection).map_err(failed)?.map(|row| row.history).unwrap_or_default();
    judge(path, compare(found, stated, machine::boot_bytes(&own.boot)), accepted)?;
    Ok(stated)
}

/// Waits while a process of another machine may serve the file.
fn await_expiry(connection: &Connection, path: &Path, own: &Owner) -> Result<(), OpenError> {
    let look = || read(connection).map_err(|error| OpenError::of(path, error));
    let Some(known) = look()? else { return Ok(()) };
    let wait = match claim(&known.owner, known.renewed_until, own, now()) {
        Claim::TakeOver => return Ok(()),
        Claim::Wait(wait) => wait,
    };
    tracing::warn!(
        owner = %known.owner, wait_ms = wait.as_millis(),
        "another machine served this database recently, waiting until its claim expires",
    );
    std::thread::sleep(wait);
    let is_alive = look()?.is_some_and(|row| row.history.commits != known.history.commits);
    if is_alive {
        let owner = known.owner.to_string();
        return Err(OpenError::Locked { path: path.into(), owner });
    }
    Ok(())
}

fn judge(path: &Path, finding: Finding, accepted: Option<u64>) -> Result<(), OpenError> {
    match finding {
        Finding::Complete => Ok(()),
        Finding::PowerLoss(gap) => {
            tracing::warn!(
                path = %path.display(), missing = %gap,
                "a power loss lost commits; metering.durability = \"process\" allows this",
            );
            Ok(())
        }
        Finding::Incomplete(incomplete) if accepted == Some(incomplete.acceptance()) => {
            tracing::warn!(
                path = %path.display(), missing = %incomplete,
                "serving an incomplete database, as --accept-missing-commits asks",
            );
            Ok(())
        }
        Finding::Incomplete(incomplete) => {
            Err(OpenError::Incomplete { path: path.to_owned(), incomplete })
        }
    }
}

/// For `driftlock check`: whether commits are missing from the database. Writes nothing.
pub(crate) fn inspect(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    // Read `DATABASE-commit` first: if a process commits meanwhile, the database has more commits
    // than the file states, never fewer.
    let stated =
        side_file::read(path).map_err(|error| OpenError::Io(side_file::path(path), error))?;
    let row = read(connection).map_err(|error| OpenError::of(path, error))?;
    let found = row.map(|row| row.history).unwrap_or_default();
    let own = machine::this_process(path).map_err(|error| no_entropy(path, error))?;
    judge(path, compare(found, stated, machine::boot_bytes(&own.boot)), None)
}

/// The owner's name in the main file, for the message of a refused process. The file is read
/// without locks and without its log, since another process serves it.
pub(crate) fn named_in(path: &Path) -> Option<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let absolute = path.canonicalize().ok()?;
    let mut uri = String::from("file:");
    for byte in absolute.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => {
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    let connection = Connection::open_with_flags(uri, flags).ok()?;
    read(&connection).ok()?.map(|row| row.owner.to_string())
}

fn no_entropy(path: &Path, error: getrandom::Error) -> OpenError {
    OpenError::Io(path.to_owned(), std::io::Error::other(error.to_string()))
}

impl Holder {
    /// Writes this process into the row of an examined file, whose schema is up to date.
    pub(crate) fn take(
        connection: &Connection,
        path: &Path,
        owner: Owner,
        durability: Durability,
        stated: Stated,
        inode: crate::own::Inode,
    ) -> Result<Self, OpenError> {
        let failed = |error| OpenError::of(path, error);
        let before = read(connection).map_err(failed)?.map(|row| row.history).unwrap_or_default();
        // Continue from the greater number, so that a number never names two commits.
        let last = match stated {
            Stated::Commitment(stated) if stated.history.commits > before.commits => {
                History { commits: stated.history.commits, ..before }
            }
            Stated::Commitment(_) | Stated::Nothing | Stated::Unreadable => before,
        };
        let io = |place: std::path::PathBuf| move |error| OpenError::Io(place, error);
        // All commits that `DATABASE-commit` will state must be on the disk, whatever the
        // durability.
        checkpoint(connection).map_err(failed)?;
        let boot = machine::boot_bytes(&owner.boot);
        let mut side = SideFile::start(path, stated, last, boot, durability)
            .map_err(io(side_file::path(path)))?;
        let history = last.next(&owner.id, 0, 0, now());
        insert(connection, &owner, history).map_err(failed)?;
        side.state(history);
        let guard = FileGuard::new(path, inode).map_err(io(path.into()))?;
        // Copy the row into the main file: a process that opens it under another name reads the
        // owner from there.
        checkpoint(connection).map_err(failed)?;
        let last_commit = (before.commits > 0).then_some(before.at);
        Ok(Self { owner, history, next: history, side, guard, last_commit })
    }

    pub(crate) fn guard(&self) -> FileGuard {
        self.guard.clone()
    }

    pub(crate) fn last_commit(&self) -> Option<Timestamp> {
        self.last_commit
    }

    /// Whether the file was not found lost so far.
    pub(crate) fn is_whole(&self) -> bool {
        self.guard.check().is_ok()
    }

    /// Checks whether the file is still at its path.
    pub(crate) fn look(&self) -> bool {
        self.guard.look().is_ok()
    }

    /// Updates the row in a group's transaction, right before the commit.
    pub(crate) fn before_commit(&mut self, sql: &Native<'_>, group: Group) -> Result<(), Fault> {
        self.write(sql, group, Some(LEASE))
    }

    fn write(
        &mut self,
        sql: &Native<'_>,
        group: Group,
        lease: Option<Duration>,
    ) -> Result<(), Fault> {
        self.guard.look()?;
        let at = now();
        self.next = self.history.next(&self.owner.id, group.settlements, group.units, at);
        let update = "UPDATE store_owner SET renewed_until = ?2, commits = ?3, head = ?4, \
                      settlements = ?5, units = ?6, committed_at = ?7 WHERE owner = ?1";
        let values = [
            (&self.owner.id).into(),
            lease.map(|lease| at.plus(lease).micros()).into(),
            self.next.commits.into(),
            (&self.next.head).into(),
            self.next.settlements.into(),
            self.next.units.into(),
            at.micros().into(),
        ];
        if sql.execute(update, &values)? == 0 {
            return Err(self.guard.lose("another process has taken the database over".into()));
        }
        Ok(())
    }

    /// To be called after a commit, before it is acknowledged.
    pub(crate) fn committed(&mut self) {
        self.history = self.next;
        self.side.state(self.history);
    }

    /// The last commit of a clean stop: it ends the claim in the row.
    pub(crate) fn release(&mut self, sql: &Native<'_>) -> Result<(), Fault> {
        sql.execute("BEGIN IMMEDIATE", &[])?;
        self.write(sql, Group::default(), None)?;
        sql.execute("COMMIT", &[])?;
        self.committed();
        Ok(())
    }

    /// To be called after the database was closed.
    pub(crate) fn closed(self) {
        self.side.close();
    }
}

fn insert(connection: &Connection, owner: &Owner, history: History) -> rusqlite::Result<()> {
    let insert = "INSERT INTO store_owner (id, owner, machine, boot, pid, path, renewed_until, \
                  commits, head, settlements, units, committed_at) \
                  VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
                  ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, \
                  machine = excluded.machine, boot = excluded.boot, pid = excluded.pid, \
                  path = excluded.path, renewed_until = excluded.renewed_until, \
                  commits = excluded.commits, head = excluded.head, \
                  settlements = excluded.settlements, units = excluded.units, \
                  committed_at = excluded.committed_at";
    let values = params![
        owner.id,
        owner.machine,
        owner.boot,
        owner.pid,
        owner.path,
        history.at.plus(LEASE).micros(),
        history.commits.cast_signed(),
        history.head,
        history.settlements.cast_signed(),
        history.units.cast_signed(),
        history.at.micros(),
    ];
    connection.execute(insert, values).map(drop)
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))
}

/// The row, if the file has one.
fn read(connection: &Connection) -> rusqlite::Result<Option<Row>> {
    let table = "SELECT 1 FROM sqlite_schema WHERE name = 'store_owner'";
    if connection.query_row(table, (), |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let query = "SELECT owner, machine, boot, pid, path, renewed_until, commits, head, \
                 settlements, units, committed_at FROM store_owner";
    let read = |row: &rusqlite::Row<'_>| {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(Row {
            owner: Owner {
                id: row.get(0)?,
                machine: row.get(1)?,
                boot: row.get(2)?,
                pid: row.get(3)?,
                path: row.get(4)?,
            },
            renewed_until: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
            history: History {
                commits: number(6)?,
                head: row.get(7)?,
                settlements: number(8)?,
                units: number(9)?,
                at: Timestamp::from_micros(row.get(10)?),
            },
        })
    };
    connection.query_row(query, (), read).optional()
}

/// The machine's wall clock, which other machines compare with theirs.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since)
}

/// This process, with a new random id.
pub(crate) fn this_process(path: &Path) -> Result<Owner, OpenError> {
    machine::this_process(path).map_err(|error| no_entropy(path, error))
}
