//! Watches whether the open file is still the one at its path, and still owned by this process.
//!
//! If the file or its write-ahead log is moved, deleted or replaced while it is served, later
//! commits would be lost. So the writer checks both before each commit. Once lost, the file stays
//! lost for this process: every read and write is refused until a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use driftlock_domain::denial::Fault;

use crate::own::Inode;

/// The state of a store's file, shared by the store's threads; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct FileGuard(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    database: (PathBuf, Inode),
    log: (PathBuf, Inode),
    lost: OnceLock<String>,
}

impl FileGuard {
    /// Watches a database that was written to, so that its log exists.
    pub(crate) fn new(database: &Path, inode: Inode) -> io::Result<Self> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let log = PathBuf::from(log);
        let log_inode = Inode::of(&std::fs::metadata(&log)?);
        let database = (database.to_owned(), inode);
        Ok(Self(Arc::new(Watched { database, log: (log, log_inode), lost: OnceLock::new() })))
    }

    /// Checks both paths, with two system calls.
    ///
    /// # Errors
    /// When the file is lost, or a path cannot be checked now.
    pub(crate) fn look(&self) -> Result<(), Fault> {
        self.check()?;
        for (path, inode) in [&self.0.database, &self.0.log] {
            match std::fs::metadata(path) {
                Ok(metadata) if Inode::of(&metadata) == *inode => {}
                Ok(_) => {
                    return Err(self.lose(format!("{} is another file now", path.display())));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(self.lose(format!("{} was moved or deleted", path.display())));
                }
                Err(error) => return Err(Fault::store(error)),
            }
        }
        Ok(())
    }

    /// Checks that the file was not found lost before.
    ///
    /// # Errors
    /// When it was lost; the fault says how.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.0.lost.get().map_or(Ok(()), |why| Err(Fault::store(why)))
    }

    /// Marks the file as lost.
    pub(crate) fn lose(&self, why: String) -> Fault {
        if self.0.lost.set(why.clone()).is_ok() {
            tracing::error!(
                database = %self.0.database.0.display(), cause = why,
                "lost the database file while serving it, refusing all requests that need the store: \
                 put the file back in its place with its -wal and -commit files, and restart",
            );
        }
        Fault::store(why)
    }
}
