//! Ownership of a database file: an advisory lock on `PATH.lock`, held while the store is open.
//!
//! The kernel gives the lock up when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::open::OpenError;

/// The lock; dropped, another process may open the file.
#[derive(Debug)]
pub(crate) struct Owned {
    _file: File,
}

pub(crate) fn own(database: &Path) -> Result<Owned, OpenError> {
    let path = lock_path(database);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| OpenError::Io(path.clone(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(Owned { _file: file }),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path)),
        Err(TryLockError::Error(error)) => Err(OpenError::Io(path, error)),
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
