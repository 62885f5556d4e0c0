//! Where things are, and how a program is started.
//!
//! Paths are absolute from here on, so that a task does the same from whatever directory it is
//! called. Started programs inherit standard output: what the user sees is the tool's own words.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Directories of generated or foreign files, in which no check looks.
const FOREIGN: &[&str] = &["target", "node_modules", ".git", ".wrangler", "build"];

/// The repository's root and the directories below it that tasks write to.
pub(crate) struct Workspace {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's target directory (`CARGO_TARGET_DIR`, or `target`).
    pub(crate) target: PathBuf,
    /// Where pinned tools are installed.
    pub(crate) tools: PathBuf,
}

impl Workspace {
    /// Finds the repository from this crate's own place.
    ///
    /// # Errors
    /// If the crate has been moved out of the workspace.
    pub(crate) fn locate() -> Result<Workspace> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask has no parent directory")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        let tools = target.join("tools");
        Ok(Workspace { root, target, tools })
    }

    /// A command that starts in the repository's root.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// The cargo that runs this task, starting in the repository's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Set for this task, not for what it builds: a build script that watches them (ring's)
        // would run again, and all that needs it compile again, whenever a person's own cargo comes
        // in between.
        let of_package =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_package)) {
            cargo.env_remove(name);
        }
        cargo
    }

    /// Every file below `directory` whose name ends in `.extension`, sorted.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub(crate) fn files(&self, directory: &str, extension: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        collect(&self.root.join(directory), extension, &mut found)?;
        found.sort();
        Ok(found)
    }

    /// `path` as it is written in the repository.
    pub(crate) fn relative<'path>(&self, path: &'path Path) -> &'path Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

fn collect(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !FOREIGN.iter().any(|name| entry.file_name() == *name) {
                collect(&path, extension, found)?;
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(())
}

/// Runs a command to its end.
///
/// # Errors
/// If the program cannot be started or reports failure.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// What a command prints on standard output, trimmed.
///
/// # Errors
/// If the program cannot be started, reports failure, or prints something that is not UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    Ok(String::from_utf8(output.stdout)
        .with_context(|| format!("`{shown}` printed something that is not UTF-8"))?
        .trim()
        .to_owned())
}

/// Whether a command succeeds; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a program of this name is on the `PATH`.
pub(crate) fn on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}
