//! Ownership of a database file: a lock on the file's own inode, held while the store is open.
//!
//! The kernel gives the lock up when the process ends, however it ends. Invariant: whatever names
//! lead to a file (symbolic links, hard links, bind mounts), its lock is one. `flock` is used since
//! SQLite's own locks are of the other kind (`fcntl`), and the two do not see each other. Closing
//! any descriptor of a file drops the process's `fcntl` locks on it, so a file that this process
//! serves is never opened again, and this one is closed after SQLite's.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::claim;
use crate::open::OpenError;

/// Which file it is, whatever it is called.
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

/// The lock; dropped, another process may open the file.
#[derive(Debug)]
pub(crate) struct Owned {
    file: File,
    inode: Inode,
    /// The file's absolute path, behind all symbolic links.
    path: PathBuf,
}

/// What this process serves.
static SERVED: Mutex<BTreeSet<Inode>> = Mutex::new(BTreeSet::new());

fn served() -> MutexGuard<'static, BTreeSet<Inode>> {
    SERVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a process serves the file now, by whatever name it opened it.
///
/// # Errors
/// If the file cannot be opened.
pub(crate) fn is_owned(database: &Path) -> io::Result<bool> {
    let served = served();
    if served.contains(&Inode::of(&std::fs::metadata(database)?)) {
        return Ok(true);
    }
    // Shared, and released at once: two that look at the same time do not see each other.
    match File::open(database)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes the file, and makes it if there is none.
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
            "the database file has several hard links: open it by the same one every time, since \
             SQLite keeps its write-ahead log beside the name that was used",
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
        // Closing would unlock it as well, and reports nothing.
        let _ = self.file.unlock();
    }
}
