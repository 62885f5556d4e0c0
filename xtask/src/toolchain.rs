//! Which compiler builds wasm on this machine, and the pinned tools around it.
//!
//! Checking the shared crates needs a standard library for wasm; building the Worker needs the
//! *sources* of one, since a panic must unwind there: under `panic=abort` it would leave the
//! caller of a Durable Object waiting for minutes, and the shipped library only aborts. In order
//! of preference: what is there, what rustup can add, Debian's packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::system;
use crate::workspace::{Workspace, on_path, output, run, succeeds};

/// The target of Cloudflare Workers.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// The crates that both hosts share and that therefore must compile to wasm.
const SHARED: &[&str] = &["driftlock-domain", "driftlock-gateway", "driftlock-sqlite-core"];

const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld"];
const DEBIAN_LIBRARY_SOURCE: &str = "/usr/src/rustc-web";

/// A program installed by `cargo install` at one version.
pub(crate) struct Tool {
    /// The package on crates.io.
    pub(crate) package: &'static str,
    /// The program it installs.
    pub(crate) program: &'static str,
    /// The exact version.
    pub(crate) version: &'static str,
}

impl Tool {
    /// The tool's path; installs it first if it is missing or of another version.
    ///
    /// # Errors
    /// If it cannot be built.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        let Tool { package, program, version } = self;
        let root = workspace.tools.join(format!("{package}-{version}"));
        let path = root.join("bin").join(program);
        if !path.is_file() {
            println!("installing {package} {version} (some minutes, once)");
            run(workspace
                .cargo()
                .args(["install", "--quiet", "--locked", "--debug", "--version", version, package])
                .arg("--root")
                .arg(&root)
                // Tools need no debug information; without it they build in half the time.
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env("CARGO_TARGET_DIR", workspace.tools.join("build")))
            .with_context(|| format!("cannot install {package} {version}"))?;
        }
        Ok(path)
    }
}

/// A compiler that can build for [`WASM`].
enum Compiler {
    /// The one on the `PATH`.
    Default,
    /// Debian's, with a standard library built on the spot.
    Debian,
}

/// Checks that the shared crates compile to wasm.
///
/// # Errors
/// If they do not, or no compiler can be had.
pub(crate) fn check_shared_crates(workspace: &Workspace) -> Result<()> {
    let mut command = wasm_cargo(workspace)?;
    command.args(["check", "--quiet", "--target", WASM]);
    SHARED.iter().for_each(|name| {
        command.args(["--package", name]);
    });
    run(&mut command)
}

/// A cargo command that can check for [`WASM`].
///
/// # Errors
/// If no compiler can be had.
pub(crate) fn wasm_cargo(workspace: &Workspace) -> Result<Command> {
    Ok(match compiler_with_library(workspace)? {
        Compiler::Default => workspace.cargo(),
        Compiler::Debian => debian_cargo(workspace),
    })
}

/// A cargo command that builds for [`WASM`] with unwinding panics; the caller adds `build` and
/// its arguments.
///
/// # Errors
/// If no compiler with the sources of its standard library can be had.
pub(crate) fn unwinding_cargo(workspace: &Workspace) -> Result<Command> {
    let mut command = match compiler_with_sources(workspace)? {
        Compiler::Default => {
            let mut command = workspace.cargo();
            build_library(&mut command);
            command
        }
        Compiler::Debian => debian_cargo(workspace),
    };
    command.env("RUSTFLAGS", "-Cpanic=unwind");
    Ok(command)
}

fn compiler_with_library(workspace: &Workspace) -> Result<Compiler> {
    let installed = || {
        let query = ["--print", "target-libdir", "--target", WASM];
        let library = output(workspace.command("rustc").args(query)).unwrap_or_default();
        !library.is_empty() && Path::new(&library).is_dir()
    };
    if installed() {
        return Ok(Compiler::Default);
    }
    if on_path("rustup") && succeeds(workspace.command("rustup").args(["target", "add", WASM])) {
        return Ok(Compiler::Default);
    }
    debian(workspace)
}

fn compiler_with_sources(workspace: &Workspace) -> Result<Compiler> {
    let sysroot = output(workspace.command("rustc").args(["--print", "sysroot"]))?;
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std");
    if sources.is_dir() {
        return Ok(Compiler::Default);
    }
    let add = ["component", "add", "rust-src"];
    if on_path("rustup") && succeeds(workspace.command("rustup").args(add)) && sources.is_dir() {
        return Ok(Compiler::Default);
    }
    debian(workspace)
}

/// Debian's compiler, installed if need be.
fn debian(workspace: &Workspace) -> Result<Compiler> {
    let complete = Path::new("/usr/bin/cargo").is_file()
        && Path::new(DEBIAN_LIBRARY_SOURCE).is_dir()
        && debian_linker().is_ok();
    if !complete {
        system::install(workspace, DEBIAN_PACKAGES).with_context(|| {
            format!("no compiler for {WASM}: run `rustup target add {WASM}` and `rustup component add rust-src`")
        })?;
    }
    Ok(Compiler::Debian)
}

fn debian_cargo(workspace: &Workspace) -> Command {
    let mut command = workspace.command("/usr/bin/cargo");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::iter::once(PathBuf::from("/usr/bin"));
    let searched = std::env::join_paths(first.chain(std::env::split_paths(&path)));
    // Joining fails only for a directory with a colon in its name, which a PATH cannot hold.
    command.env("PATH", searched.unwrap_or(path));
    command.env("RUSTC", "/usr/bin/rustc").env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command.env("CARGO_TARGET_DIR", workspace.target.join("debian"));
    if let Ok(linker) = debian_linker() {
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    build_library(&mut command);
    command
}

/// Lets a stable cargo build the standard library, panics unwinding, small and without the reader
/// of debug information behind backtraces, for which there is none in wasm. Build scripts look at
/// the same variable, so that such builds live in a target directory of their own.
fn build_library(command: &mut Command) {
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_UNSTABLE_BUILD_STD", "std,panic_unwind")
        .env("CARGO_UNSTABLE_BUILD_STD_FEATURES", "panic-unwind,optimize_for_size");
}

/// A linker for wasm: Debian's compiler brings none.
fn debian_linker() -> Result<PathBuf> {
    let candidates = std::fs::read_dir("/usr/bin")?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_linker = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == "rust-lld" || name == "wasm-ld" || name.starts_with("wasm-ld-")
    };
    let Some(linker) = candidates.filter(is_linker).max() else {
        bail!("no linker for {WASM}: install lld");
    };
    Ok(linker)
}
