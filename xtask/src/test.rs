//! `cargo xtask test`: everything that must hold before a change is merged, cheapest first.

use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::steps::Steps;
use crate::workspace::{Workspace, run as run_command};
use crate::{deny, prove, system, tidy, toolchain, worker};

/// How much of the suite to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    Full,
    /// What a change of ordinary Rust code can break.
    Quick,
}

/// Runs the suite and prints its count.
///
/// # Errors
/// If any step failed.
pub(crate) fn run(workspace: &Workspace, extent: Extent) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("system", || system::ensure(workspace));
    steps.run("fmt", || fmt(workspace));
    steps.run("tidy", || tidy::run(workspace));
    steps.run("proofs", || prove::print_ages(workspace));
    steps.run("clippy", || clippy(workspace));
    match extent {
        Extent::Quick => {
            steps.run("tests", || tests(workspace));
            steps.run("fuzz", || fuzz_targets(workspace));
            steps.run("wasm", || toolchain::check_shared_crates(workspace));
        }
        Extent::Full => full(workspace, &mut steps),
    }
    steps.finish()
}

/// Tests wait more than they compute: beside them is built what comes after them.
fn full(workspace: &Workspace, steps: &mut Steps) {
    let has_worker = worker::exists(workspace);
    steps.run("build", || run_command(workspace.cargo().args(TESTS).arg("--no-run")));
    thread::scope(|scope| {
        let prepared = scope.spawn(|| {
            let worker = if has_worker { worker::prepare(workspace) } else { Ok(()) };
            (worker, deny::prepare(workspace))
        });
        steps.run("tests", || tests(workspace));
        steps.run("fuzz", || fuzz_targets(workspace));
        steps.run("wasm", || toolchain::check_shared_crates(workspace));
        let panicked = |_| (Err(anyhow!("it panicked")), Err(anyhow!("it panicked")));
        let (worker, deny) = prepared.join().unwrap_or_else(panicked);
        if has_worker {
            steps.run("worker", || worker.and_then(|()| worker::test_prepared(workspace)));
        }
        steps.run("deny", || deny.and_then(|()| deny::run(workspace)));
    });
}

const TESTS: [&str; 4] = ["test", "--workspace", "--quiet", "--no-fail-fast"];

fn tests(workspace: &Workspace) -> Result<()> {
    run_command(workspace.cargo().args(TESTS))
}

/// What only the fuzzer runs compiles at least; what it runs has been run as ordinary tests.
fn fuzz_targets(workspace: &Workspace) -> Result<()> {
    let manifest = ["check", "--quiet", "--manifest-path", "fuzz/Cargo.toml"];
    // Nothing is linked here, so that the fuzzer's own library need not be compiled, nor exist.
    let library = workspace.target.join("fuzz").join("libFuzzer.a");
    run_command(workspace.cargo().args(manifest).env("CUSTOM_LIBFUZZER_PATH", library))
        .context("the fuzz targets do not compile")
}

fn fmt(workspace: &Workspace) -> Result<()> {
    run_command(workspace.cargo().args(["fmt", "--all", "--check"]))
        .context("run `cargo fmt` (missing? `rustup component add rustfmt`)")
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let lints = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    // `--all-targets` leaves out what runs only by name.
    let by_name = ["peers", "webhook_cost", "fleet_cost", "stripe_fixtures", "stripe_published"];
    let named = by_name.iter().flat_map(|name| ["--test", name]);
    let named = ["clippy", "--workspace", "--quiet"].into_iter().chain(named);
    // The program as it is built for people: tests lend features to what it depends on.
    let program = ["clippy", "--package", "driftlock", "--quiet", "--", "-D", "warnings"];
    run_command(workspace.cargo().args(lints))
        .and_then(|()| run_command(workspace.cargo().args(program)))
        .and_then(|()| run_command(workspace.cargo().args(named).args(["--", "-D", "warnings"])))
        .context("lints failed (clippy missing? `rustup component add clippy`)")
}
