//! Secrets in files. A file is created for its owner only. It is read only if no other user can
//! have written or read it.
//!
//! `dev` keeps its admin token in a folder below the current one, which may be a folder that others
//! write to. A token that another user put there would let that user administer the gateway.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::OFlags;

/// The longest secret that is read.
const SECRET_BYTES_MAX: u64 = 4_096;
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// Creates a folder for its owner only. Accepts an existing one if no other user can write to it.
pub(super) fn folder(path: &Path) -> Result<()> {
    let shown = path.display();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot create the folder {shown}"))?;
    // Links are refused: another user who owns the link could change its target.
    let found = path.symlink_metadata().with_context(|| format!("cannot examine {shown}"))?;
    ensure!(found.is_dir(), "{shown} is a link, not a folder: set --data to the folder itself");
    owned(found.uid(), path)?;
    ensure!(
        found.mode() & OTHERS_WRITE == 0,
        "others may write to {shown}: run `chmod go-w {shown}`, or choose another with --data"
    );
    Ok(())
}

/// The secret in a file; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    let shown = path.display();
    let flags = i32::try_from(OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits())?;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::LOOP) => {
            bail!("{shown} is a link: secrets are not read through links; remove the link")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    };
    check(&file, path)?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {shown}"))?;
    Ok(Some(text.trim().to_owned()))
}

/// Writes a secret to a file that does not exist yet.
pub(super) fn write(path: &Path, secret: &str) -> Result<()> {
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{secret}")?;
        file.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

/// Checks the open file, because its name may point to another file by now.
fn check(file: &File, path: &Path) -> Result<()> {
    let (found, shown) = (file.metadata()?, path.display());
    ensure!(found.is_file(), "{shown} is no regular file, so no secret is read from it");
    owned(found.uid(), path)?;
    ensure!(
        found.mode() & OTHERS == 0,
        "others can read or write the secret in {shown} (mode {:03o}): remove the file, so that a \
         new secret is created, or run `chmod 600 {shown}` if no other user has used it",
        found.mode() & 0o777
    );
    Ok(())
}

fn owned(uid: u32, path: &Path) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    ensure!(
        uid == own,
        "{} belongs to another user (id {uid}; the current user is {own}): remove it, or choose \
         another folder with --data",
        path.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn refused<T: std::fmt::Debug>(outcome: Result<T>, sign: &str) {
        let error = format!("{:#}", outcome.expect_err("refused"));
        assert!(error.contains(sign), "{error}");
    }

    #[test]
    fn a_written_secret_is_read_again_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        assert_eq!(read(&path).expect("not there"), None);
        write(&path, "hunter2").expect("written");
        assert_eq!(read(&path).expect("there").as_deref(), Some("hunter2"));
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o600);
        refused(write(&path, "another"), "cannot write");
    }

    #[test]
    fn planted_secrets_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        write(&at("secret"), "hunter2").expect("written");
        symlink(at("secret"), at("link")).expect("linked");
        refused(read(&at("link")), "is a link");
        for mode in [0o644, 0o660, 0o602] {
            fs::set_permissions(at("secret"), Permissions::from_mode(mode)).expect("set");
            refused(read(&at("secret")), "chmod 600");
        }
        refused(read(folder.path()), "no regular file");
        refused(owned(rustix::process::geteuid().as_raw() + 1, &at("secret")), "another user");
    }

    #[test]
    fn folders_that_others_can_change_are_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let at = |name: &str| parent.path().join(name);
        folder(&at("own")).expect("made");
        assert_eq!(at("own").metadata().expect("there").mode() & 0o777, 0o700);
        folder(&at("own")).expect("found");
        symlink(at("own"), at("link")).expect("linked");
        refused(folder(&at("link")), "is a link");
        fs::set_permissions(at("own"), Permissions::from_mode(0o777)).expect("set");
        refused(folder(&at("own")), "chmod go-w");
    }
}
