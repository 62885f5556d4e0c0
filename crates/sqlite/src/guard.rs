//! Whether the open file is still the one that its path names, and still this process's.
//!
//! A file that was moved, deleted or replaced while it is served, or whose write-ahead log was,
//! takes commits that nobody finds again. So the writer looks before each commit. Once lost, the
//! file stays lost for this process: every read and write is refused until a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use driftlock_domain::denial::Fault;

use crate::own::Inode;

/// What the threads of a store share about its file; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct FileGuard(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    database: (PathBuf, Inode),
    log: (PathBuf, Inode),
    lost: OnceLock<String>,
}

impl FileGuard {
    /// Watches a database in which something was written already, so that its log is there.
    pub(crate) fn new(database: &Path, inode: Inode) -> io::Result<Self> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let log = PathBuf::from(log);
        let log_inode = Inode::of(&std::fs::metadata(&log)?);
        let database = (database.to_owned(), inode);
        Ok(Self(Arc::new(Watched { database, log: (log, log_inode), lost: OnceLock::new() })))
    }

    /// Looks at the paths, two calls of the system.
    ///
    /// # Errors
    /// The file is lost, or the paths cannot be looked at now.
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

    /// Whether the file was lost before.
    ///
    /// # Errors
    /// It was, and how.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.0.lost.get().map_or(Ok(()), |why| Err(Fault::store(why)))
    }

    /// The file is lost from now on.
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
