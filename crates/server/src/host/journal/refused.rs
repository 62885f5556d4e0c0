//! Entries that the store refuses permanently, in a file next to the journal (`.refused`).
//!
//! These entries were acknowledged and are stored nowhere else: each is synced to this file before
//! the journal drops it. Lines have the journal's format. After an operator has corrected the
//! cause, they can be appended to the journal while the gateway is stopped; a usage id counts once.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::file::{Entry, line};

/// The file, which is created when there is an entry to keep.
pub(super) struct RefusedFile {
    path: PathBuf,
}

impl RefusedFile {
    /// The file that belongs to this journal.
    pub(super) fn beside(journal: &Path) -> Self {
        let mut name = OsString::from(journal);
        name.push(".refused");
        Self { path: name.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The number of entries.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub(super) fn count(&self) -> io::Result<u64> {
        match File::open(&self.path) {
            Ok(file) => {
                let mut lines = BufReader::new(file).lines();
                lines.try_fold(0, |count, line| line.map(|_| count + 1))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Stores entries durably. They are rare, so they are synced with any `metering.durability`.
    ///
    /// # Errors
    /// If the write fails.
    pub(super) fn keep(&self, entries: &[&Entry]) -> io::Result<()> {
        let mut text = String::new();
        for entry in entries {
            text.push_str(&line(&serde_json::to_string(entry)?));
        }
        let mut file = File::options().create(true).append(true).mode(0o600).open(&self.path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Sync the folder as well, so that it contains the new file.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use driftlock_testkit::make;

    use super::*;

    #[test]
    fn kept_entries_are_counted_and_can_be_put_back_into_the_journal() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = RefusedFile::beside(&folder.path().join("journal"));
        assert_eq!(refused.count().expect("none"), 0);
        let entry = Entry { settlement: make::settlement(1, 1), terms: make::terms(None) };
        refused.keep(&[&entry]).expect("kept");
        refused.keep(&[&entry]).expect("kept");
        assert_eq!(refused.count().expect("read"), 2);
        let journal = folder.path().join("another");
        std::fs::copy(refused.path(), &journal).expect("copied");
        let durability = driftlock_domain::config::Durability::Fsync;
        let journal = super::super::file::JournalFile::open(&journal, 1 << 20, durability);
        let entries = journal.expect("it is one").oldest().expect("read").entries;
        assert_eq!(entries, [entry.clone(), entry]);
    }
}
