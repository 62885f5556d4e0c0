//! `cargo xtask fuzz`: every fuzz target for some minutes, and what was found.
//!
//! Sanitizers and coverage are the compiler's unstable options; the stable one takes them when it
//! is made to believe that it builds itself (`RUSTC_BOOTSTRAP`). What a run finds interesting is
//! kept below `target/fuzz`: the seeds in the repository stay a handful.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::toolchain::Tool;
use crate::workspace::{Workspace, run as run_command};

const CARGO_FUZZ: Tool = Tool { package: "cargo-fuzz", program: "cargo-fuzz", version: "0.13.2" };

/// How long, how many at a time, and which; all if none is named.
pub(crate) struct Extent {
    pub(crate) seconds: u64,
    pub(crate) jobs: usize,
    pub(crate) targets: Vec<String>,
}

/// Runs the targets and prints a line for each.
///
/// # Errors
/// If one found something, there is no such target, or the tools cannot be had.
pub(crate) fn run(workspace: &Workspace, extent: &Extent) -> Result<()> {
    let program = CARGO_FUZZ.ensure(workspace)?;
    let mut known: Vec<String> = Vec::new();
    for path in workspace.files("fuzz/fuzz_targets", "rs")? {
        known.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    for target in &extent.targets {
        ensure!(known.contains(target), "no target `{target}`; there are {}", known.join(", "));
    }
    let targets = if extent.targets.is_empty() { known } else { extent.targets.clone() };
    run_command(workspace.command(&program).arg("build").env("RUSTC_BOOTSTRAP", "1"))
        .context("the fuzz targets do not build (a C++ compiler is needed)")?;
    println!("| target | outcome |\n|---|---|");
    let left = Mutex::new(VecDeque::from(targets));
    let next = || left.lock().ok()?.pop_front();
    let found = thread::scope(|scope| {
        let worker = || {
            let mut found = 0;
            while let Some(target) = next() {
                match one(workspace, &program, &target, extent.seconds) {
                    Ok(done) => println!("| {target} | {done} |"),
                    Err(error) => {
                        found += 1;
                        println!("| {target} | **{error:#}** |");
                    }
                }
            }
            found
        };
        let workers: Vec<_> = (0..extent.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(1)).sum::<usize>()
    });
    if found > 0 {
        bail!("{found} targets did not pass");
    }
    Ok(())
}

/// What libFuzzer says at the end.
fn one(workspace: &Workspace, program: &Path, target: &str, seconds: u64) -> Result<String> {
    let folder = workspace.target.join("fuzz").join(target);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let log = folder.with_extension("log");
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = workspace.command(program);
    // The first folder takes what is new.
    command.args(["run", target]).arg(&folder).arg(format!("fuzz/corpus/{target}"));
    let findings = format!("fuzz/findings/{target}");
    if workspace.root.join(&findings).is_dir() {
        command.arg(findings);
    }
    command.arg("--").arg(format!("-max_total_time={seconds}"));
    command.env("RUSTC_BOOTSTRAP", "1").stdout(file.try_clone()?).stderr(file);
    let status = command.status().context("cargo-fuzz does not start")?;
    let text = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())?;
    let last = |start: &str| text.lines().rev().find(|line| line.starts_with(start));
    if !status.success() {
        let input = last("Test unit written to ").or(last("artifact_prefix=")).unwrap_or_default();
        bail!("failed ({status}) {input}; see {}", workspace.relative(&log).display());
    }
    let done = last("Done ").context("it ended without a word of how far it came")?;
    Ok(done.to_owned())
}
