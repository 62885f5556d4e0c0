//! What the machine must have beside Rust: a C compiler, for SQLite and zstd are built from their
//! sources, and PostgreSQL and Redis, of which tests run servers of their own. As root on Debian a
//! missing program is installed; otherwise the message says how.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, on_path, output, run};

/// A program and the Debian packages that bring it.
struct Need {
    program: &'static str,
    is_there: fn(&str) -> bool,
    packages: &'static [&'static str],
    why: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        program: "cc",
        is_there: on_path,
        packages: &["gcc", "libc6-dev"],
        why: "SQLite and zstd are compiled from source",
    },
    Need {
        program: "initdb",
        is_there: is_of_postgresql,
        packages: &["postgresql"],
        why: "tests of fleets start clusters of their own; PostgreSQL 15 or later",
    },
    Need {
        program: "redis-server",
        is_there: on_path,
        packages: &["redis-server"],
        why: "tests of shared rate limits start servers of their own; Redis 6 or later",
    },
    Need {
        program: "sqlite3",
        is_there: on_path,
        packages: &["sqlite3"],
        why: "the operator's guide makes backups with it, and a test runs its commands",
    },
];

/// Debian keeps what belongs to a version of PostgreSQL off the path.
fn is_of_postgresql(program: &str) -> bool {
    let versions = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().flatten();
    let mut programs = versions.map(|version| version.path().join("bin").join(program));
    on_path(program) || programs.any(|program| program.is_file())
}

/// Makes sure that every needed program is there.
///
/// # Errors
/// If one is missing and cannot be installed.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    NEEDS.iter().filter(|need| !(need.is_there)(need.program)).try_for_each(|need| {
        install(workspace, need.packages)
            .with_context(|| format!("`{}` is missing ({}); install it", need.program, need.why))
    })
}

/// Makes sure that programs are there, each beside the Debian package that brings it.
///
/// # Errors
/// If one is missing and cannot be installed.
pub(crate) fn programs(workspace: &Workspace, wanted: &[(&str, &str)]) -> Result<()> {
    let missing = wanted.iter().filter(|(program, _)| !on_path(program));
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() { Ok(()) } else { install(workspace, &packages) }
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
