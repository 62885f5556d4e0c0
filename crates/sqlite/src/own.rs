//! Ownership of a database file: a lock on the file's own inode, held while the store is open.
//!
//! The kernel releases the lock when the process ends, however it ends. Invariant: a file has one
//! lock under all its names (symbolic links, hard links, bind mounts). The lock is a `flock`, since
//! SQLite uses `fcntl` locks, and the two kinds do not affect each other. Closing any descriptor of
//! a file drops the process's `fcntl` locks on it. So this process never opens a file twice that it
//! serves, and closes this descriptor after SQLite's.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::claim;
use crate::open::OpenError;

/// The identity of a file, independent of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }
}

/// The lock of a file. Dropping it lets another process open the file.
#[derive(Debug)]
pub(crate) struct Owned {
    file: File,
    inode: Inode,
    /// The file's absolute path, with all symbolic links resolved.
    path: PathBuf,
}

/// The files that this process serves.
static SERVED: Mutex<BTreeSet<Inode>> = Mutex::new(BTreeSet::new());

fn served() -> MutexGuard<'static, BTreeSet<Inode>> {
    SERVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a process serves the file now, under any of its names.
///
/// # Errors
/// When the file cannot be opened.
pub(crate) fn is_owned(database: &Path) -> io::Result<bool> {
    let served = served();
    if served.contains(&Inode::of(&std::fs::metadata(database)?)) {
        return Ok(true);
    }
    // A shared lock, released at once, so that concurrent checks do not see each other.
    match File::open(database)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks the file; creates it if there is none.
pub(crate) fn own(database: &Path) -> Result<Owned, OpenError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly(database.into())
        }
        _other => OpenError::Io(database.into(), error),
    };
    let mut served = served();
    if let Ok(metadata) = std::fs::metadata(database)
        && served.contains(&Inode::of(&metadata))
    {
        let owner = format!("this process ({})", std::process::id());
        return Err(OpenError::Locked { path: database.into(), owner });
    }
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let file = file.open(database).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let owner = claim::named_in(database).unwrap_or_else(|| "another process".into());
            return Err(OpenError::Locked { path: database.into(), owner });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let inode = Inode::of(&file.metadata().map_err(failed)?);
    let path = database.canonicalize().map_err(failed)?;
    let others = file.metadata().map_err(failed)?.nlink();
    if others > 1 {
        tracing::warn!(
            path = %path.display(), links = others,
            "the database file has several hard links: always open it by the same name, since SQLite \
             keeps its write-ahead log next to that name",
        );
    }
    served.insert(inode);
    Ok(Owned { file, inode, path })
}

impl Owned {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn inode(&self) -> Inode {
        self.inode
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        served().remove(&self.inode);
        // If this fails, closing the file releases the lock.
        let _ = self.file.unlock();
    }
}
