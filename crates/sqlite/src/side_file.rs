//! The file `DATABASE-commit`: it states the database's last commit outside the database.
//!
//! The file has two slots of one page each, which are written alternately, so that a torn write
//! leaves the other slot intact. It is written after each commit and before the commit is
//! acknowledged, by one `pwrite` without `fsync`. If the process is killed, no statement is lost; a
//! power loss may lose some seconds of statements, so that the file states fewer commits than the
//! database has.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use driftlock_domain::config::Durability;
use driftlock_domain::store_file::commitment::{Commitment, History, RECORD_BYTES, Stated};

const SLOT_BYTES: u64 = 4_096;

/// The file, open for writing.
#[derive(Debug)]
pub(crate) struct SideFile {
    file: File,
    path: PathBuf,
    last: Commitment,
    /// Whether the last write failed.
    is_failing: bool,
}

/// Reads the statement about a database.
pub(crate) fn read(database: &Path) -> io::Result<Stated> {
    let bytes = match std::fs::read(path(database)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stated::Nothing),
        Err(error) => return Err(error),
    };
    let slot = |number: usize| {
        let start = number * usize::try_from(SLOT_BYTES).unwrap_or(usize::MAX);
        Commitment::decode(bytes.get(start..start + RECORD_BYTES)?)
    };
    let latest = [slot(0), slot(1)].into_iter().flatten().max_by_key(|found| found.sequence);
    Ok(latest.map_or(Stated::Unreadable, Stated::Commitment))
}

pub(crate) fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-commit");
    PathBuf::from(name)
}

impl SideFile {
    /// Opens or creates the file, and states this history durably.
    pub(crate) fn start(
        database: &Path,
        stated: Stated,
        history: History,
        boot: [u8; 16],
        durability: Durability,
    ) -> io::Result<Self> {
        let sequence = match stated {
            Stated::Commitment(last) => last.sequence,
            Stated::Nothing | Stated::Unreadable => 0,
        };
        let path = path(database);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        let last = Commitment { sequence, history, boot, durability, is_closed: false };
        let mut side = Self { file, path, last, is_failing: false };
        // Write both slots, so that none keeps an older history.
        side.put(history, false)?;
        side.put(history, false)?;
        side.file.sync_all()?;
        if let Some(folder) = side.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(side)
    }

    /// States a commit. A failure is logged once, and the next commit is stated again.
    pub(crate) fn state(&mut self, history: History) {
        let done = self.put(history, false);
        self.note(done);
    }

    /// States that the database was closed with all commits in it.
    pub(crate) fn close(mut self) {
        let done = self.put(self.last.history, true);
        self.note(done);
    }

    fn put(&mut self, history: History, is_closed: bool) -> io::Result<()> {
        let sequence = self.last.sequence + 1;
        let next = Commitment { sequence, history, is_closed, ..self.last };
        self.file.write_all_at(&next.encode(), sequence % 2 * SLOT_BYTES)?;
        self.last = next;
        Ok(())
    }

    fn note(&mut self, done: io::Result<()>) {
        if let Err(error) = &done
            && !self.is_failing
        {
            tracing::warn!(
                path = %self.path.display(), %error,
                "cannot write the file that states the last commit; a loss of commits would not be \
                 noticed",
            );
        }
        self.is_failing = done.is_err();
    }
}
