//! The journal's file: one record per line with a checksum. Records are appended and synced in
//! batches.
//!
//! Invariant: records for which an append returned `Ok` are read again after a crash, until they
//! are done. A last line that a crash cut off was never acknowledged and is removed. A damaged line
//! before other records is an error.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use driftlock_domain::config::Durability;
use driftlock_domain::entitlement::Terms;
use driftlock_domain::usage::Settlement;
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

/// The settlement of a request while the store was unreachable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) settlement: Settlement,
    /// The terms under which the request was admitted.
    pub(super) terms: Terms,
}

/// Records that were read, and the offset of the next one.
pub(super) struct Portion {
    pub(super) entries: Vec<Entry>,
    pub(super) next: u64,
}

/// The open file.
pub(super) struct JournalFile {
    file: File,
    /// The offset for the next record.
    end: u64,
    /// The offset of the first record that is not done.
    first: u64,
    bytes_max: u64,
    durability: Durability,
}

/// Bytes read at once.
const READ_MAX: u64 = 256 << 10;
/// The greatest reserve for requests in progress.
const RESERVE_MAX: u64 = 256 << 10;
/// Bytes written to test the disk: one block of most file systems.
const PROBE: usize = 4 << 10;

impl JournalFile {
    /// Opens the file, or creates it with mode 0600. While it is open, no other process can open
    /// it.
    ///
    /// # Errors
    /// If the file cannot be used; the message says why.
    pub(super) fn open(path: &Path, bytes_max: u64, durability: Durability) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.create(true).read(true).write(true).truncate(false).mode(0o600);
        let file = file.open(path)?;
        file.try_lock().map_err(|_| io::Error::other("another gateway has it open"))?;
        let journal = Self::read_through(file, bytes_max, durability)?;
        journal.file.set_len(journal.end)?;
        Ok(journal)
    }

    /// Checks whether the file could be opened or created. Changes nothing, and does not test the
    /// lock.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn look(path: &Path, bytes_max: u64, durability: Durability) -> io::Result<()> {
        match File::options().read(true).write(true).open(path) {
            Ok(file) => Self::read_through(file, bytes_max, durability).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                // Checked first, so that the error says that the path is not a folder.
                folder.read_dir()?;
                Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads all records to find the offset for the next one.
    fn read_through(file: File, bytes_max: u64, durability: Durability) -> io::Result<Self> {
        let (length, mut end) = (file.metadata()?.len(), 0);
        let mut journal = Self { file, end: length, first: 0, bytes_max, durability };
        while end < length {
            let Portion { next, entries } = journal.read(end)?;
            if entries.is_empty() {
                break;
            }
            end = next;
        }
        if journal.has_record_after(end)? {
            return Err(io::Error::other(format!("the journal is damaged at byte {end}")));
        }
        journal.end = end;
        Ok(journal)
    }

    /// Whether no record waits.
    pub(super) fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// Size in bytes. Records that are done stay until all are done.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Whether more requests may be admitted. A reserve is kept for requests that were admitted
    /// before the journal was full.
    pub(super) fn has_room(&self) -> bool {
        let reserve = (self.bytes_max / 8).min(RESERVE_MAX);
        self.end + reserve < self.bytes_max
    }

    /// Whether the disk accepts writes; the test leaves no bytes in the file.
    pub(super) fn is_writable(&self) -> bool {
        let written = self.file.write_all_at(&[b' '; PROBE], self.end).and_then(|()| self.sync());
        // If the file could not be shortened, the next append overwrites these bytes.
        written.and(self.file.set_len(self.end)).is_ok()
    }

    /// Makes records durable: all of them or none.
    ///
    /// # Errors
    /// If there is no room, or the write fails.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for entry in entries {
            let json = serde_json::to_string(entry)?;
            bytes.extend_from_slice(line(&json).as_bytes());
        }
        let end = self.end + bytes.len() as u64;
        if end > self.bytes_max {
            return Err(io::Error::other("the journal is full"));
        }
        let written = self.file.write_all_at(&bytes, self.end).and_then(|()| self.sync());
        if let Err(error) = written {
            // The written bytes were not acknowledged. If they stay, the next append overwrites
            // them.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.end = end;
        Ok(())
    }

    /// The oldest waiting records.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn oldest(&self) -> io::Result<Portion> {
        self.read(self.first)
    }

    /// Marks the records before `next` as done.
    ///
    /// # Errors
    /// If the file cannot be shortened. After a restart the records are settled again, to no
    /// effect.
    pub(super) fn done(&mut self, next: u64) -> io::Result<()> {
        self.first = next;
        if self.is_empty() {
            self.file.set_len(0)?;
            (self.first, self.end) = (0, 0);
            return self.sync();
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match self.durability {
            Durability::Fsync => self.file.sync_data(),
            Durability::Process => Ok(()),
        }
    }

    /// Whole records from `from` on.
    fn read(&self, from: u64) -> io::Result<Portion> {
        let length = READ_MAX.min(self.end - from);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, from)?;
        let (mut entries, mut next) = (Vec::new(), from);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(entry) = entry(line) else { break };
            entries.push(entry);
            next += line.len() as u64;
        }
        Ok(Portion { entries, next })
    }

    /// Whether a whole record follows a broken one.
    fn has_record_after(&self, from: u64) -> io::Result<bool> {
        let mut bytes = vec![0; usize::try_from(self.end - from).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes.split_inclusive(|byte| *byte == b'\n').skip(1).any(|line| entry(line).is_some()))
    }
}

/// A record's line.
pub(super) fn line(json: &str) -> String {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

fn entry(line: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (sum, json) = text.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(json.as_bytes());
    is_whole.then(|| serde_json::from_str(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use driftlock_testkit::make;

    use super::*;

    const FSYNC: Durability = Durability::Fsync;

    fn entry(number: u64) -> Entry {
        Entry { settlement: make::settlement(1, number), terms: make::terms(None) }
    }

    fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        (folder, path)
    }

    #[test]
    fn appended_records_survive_a_crash_until_they_are_done() {
        let (_folder, path) = file();
        let mut journal = JournalFile::open(&path, 1 << 20, FSYNC).expect("opens");
        assert!(journal.is_empty() && journal.bytes() == 0);
        journal.append(&[entry(1), entry(2)]).expect("appended");
        assert_eq!(journal.bytes(), std::fs::metadata(&path).expect("there").len());
        journal.append(&[entry(3)]).expect("appended");
        assert!(JournalFile::open(&path, 1 << 20, FSYNC).is_err(), "one process at a time");
        drop(journal);
        let mut journal = JournalFile::open(&path, 1 << 20, FSYNC).expect("opens");
        let portion = journal.oldest().expect("read");
        assert_eq!(portion.entries, [entry(1), entry(2), entry(3)]);
        journal.append(&[entry(4)]).expect("appended");
        journal.done(portion.next).expect("done");
        let rest = journal.oldest().expect("read");
        assert_eq!(rest.entries, [entry(4)]);
        journal.done(rest.next).expect("done");
        assert!(journal.is_empty() && journal.bytes() == 0);
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 0);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_removed_and_damage_is_an_error() {
        let (_folder, path) = file();
        let mut journal = JournalFile::open(&path, 1 << 20, FSYNC).expect("opens");
        journal.append(&[entry(1), entry(2)]).expect("appended");
        drop(journal);
        let whole = std::fs::read(&path).expect("read");
        for cut in 1..40 {
            std::fs::write(&path, &whole[..whole.len() - cut]).expect("written");
            let journal = JournalFile::open(&path, 1 << 20, FSYNC).expect("opens");
            assert_eq!(journal.oldest().expect("read").entries, [entry(1)]);
        }
        let mut damaged = whole.clone();
        damaged[20] ^= 1;
        std::fs::write(&path, damaged).expect("written");
        let refused = JournalFile::open(&path, 1 << 20, FSYNC).err().expect("it is damaged");
        assert!(refused.to_string().contains("byte 0"), "{refused}");
    }

    #[test]
    fn it_never_grows_beyond_its_bound() {
        let (_folder, path) = file();
        let mut journal = JournalFile::open(&path, 20_000, FSYNC).expect("opens");
        let mut appended = 0;
        while journal.append(&[entry(appended)]).is_ok() {
            appended += 1;
        }
        assert!((10..100).contains(&appended), "{appended}");
        assert!(!journal.has_room(), "it was shut before it was full");
        assert!(journal.is_writable(), "the disk is not what refuses");
        assert!(std::fs::metadata(&path).expect("there").len() <= 20_000);
        assert_eq!(journal.oldest().expect("read").entries.len() as u64, appended);
    }
}
