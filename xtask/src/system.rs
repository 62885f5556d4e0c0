//! What the machine must have beside Rust: a C compiler, for SQLite and zstd are built from their
//! sources. As root on Debian a missing program is installed; otherwise the message says how.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, on_path, output, run};

/// A program and the Debian packages that bring it.
struct Need {
    program: &'static str,
    packages: &'static [&'static str],
    why: &'static str,
}

const NEEDS: &[Need] = &[Need {
    program: "cc",
    packages: &["gcc", "libc6-dev"],
    why: "SQLite and zstd are compiled from source",
}];

/// Makes sure that every needed program is there.
///
/// # Errors
/// If one is missing and cannot be installed.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    NEEDS.iter().filter(|need| !on_path(need.program)).try_for_each(|need| {
        install(workspace, need.packages)
            .with_context(|| format!("`{}` is missing ({}); install it", need.program, need.why))
    })
}

/// Installs Debian packages, if this is root on Debian.
///
/// # Errors
/// If it is not, or apt-get fails.
pub(crate) fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    if !on_path("apt-get") {
        bail!("the packages that Debian calls {wanted} are missing");
    }
    if output(Command::new("id").arg("-u"))? != "0" {
        bail!("run: sudo apt-get install -y --no-install-recommends {wanted}");
    }
    println!("installing {wanted}");
    run(workspace.command("apt-get").args(["update", "-qq"]))?;
    run(workspace
        .command("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages))
}
