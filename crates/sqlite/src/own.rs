//! Ownership of a database file: an advisory lock on `PATH.lock`, held while the store is open.
//!
//! The kernel gives the lock up when the process ends, however it ends. Invariant: whatever links
//! lead to a file, its lock is one, since the file's own place names it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::open::OpenError;

/// The lock; dropped, another process may open the file.
#[derive(Debug)]
pub(crate) struct Owned {
    _file: File,
}

pub(crate) fn own(database: &Path) -> Result<Owned, OpenError> {
    let path = lock_path(&place(database).map_err(|error| OpenError::Io(database.into(), error))?);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| OpenError::Io(path.clone(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(Owned { _file: file }),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path)),
        Err(TryLockError::Error(error)) => Err(OpenError::Io(path, error)),
    }
}

/// The file's own place, behind all links. A file that is not there yet is made, as SQLite would:
/// a link may lead to it.
fn place(database: &Path) -> std::io::Result<PathBuf> {
    let known = database.canonicalize();
    if !known.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return known;
    }
    OpenOptions::new().create(true).append(true).open(database)?;
    database.canonicalize()
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
