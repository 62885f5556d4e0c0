//! Building the Cloudflare Worker and running its tests in workerd, by way of Miniflare.
//!
//! Three steps, each with a pinned tool: cargo builds the crate to wasm with unwinding panics,
//! wasm-bindgen of the very version in Cargo.lock makes the JavaScript around it, and npm brings
//! Miniflare at the version in package-lock.json. No account and no network beyond the package
//! registries is needed.

mod imports;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::toolchain::{Tool, WASM, unwinding_cargo, wasm_cargo};
use crate::workspace::{Workspace, on_path, output, run};

const CRATE: &str = "crates/worker";
const WASM_BINDGEN: Tool =
    Tool { package: "wasm-bindgen-cli", program: "wasm-bindgen", version: "0.2.129" };
const WRANGLER_TEST: &str = "wrangler.test.mjs";
const NODE_MAJOR_MIN: u32 = 20;

/// Whether this checkout has the Worker.
pub(crate) fn exists(workspace: &Workspace) -> bool {
    workspace.root.join(CRATE).join("Cargo.toml").is_file()
}

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    /// What is deployed.
    Worker,
    /// The same, and it panics when a test asks for it.
    WithPanicTrigger,
}

/// Builds the Worker into `crates/worker/build`.
///
/// # Errors
/// If a tool is missing and cannot be installed, or the crate does not compile.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    build_as(workspace, Build::Worker)
}

fn build_as(workspace: &Workspace, build: Build) -> Result<()> {
    locked_version(workspace)?;
    let target = workspace.target.join("worker");
    let folder = match build {
        Build::Worker => "build",
        Build::WithPanicTrigger => "build/with-panic-trigger",
    };
    let mut cargo = unwinding_cargo(workspace)?;
    cargo
        .args(["rustc", "--quiet", "--profile", "worker", "--lib", "--package", "driftlock-worker"])
        .args(["--target", WASM])
        .env("CARGO_TARGET_DIR", &target);
    if build == Build::WithPanicTrigger {
        // The dependencies are those of the Worker as it is deployed; what links them need not take
        // the minute that making it small does.
        cargo.args(["--features", "panic-trigger", "--", "-Ccodegen-units=16", "-Copt-level=0"]);
    }
    run(&mut cargo)?;

    let built = workspace.root.join(CRATE).join(folder);
    if built.exists() {
        fs::remove_dir_all(&built).with_context(|| format!("cannot empty {}", built.display()))?;
    }
    let bindgen = WASM_BINDGEN.ensure(workspace)?;
    run(workspace
        .command(bindgen)
        .arg(target.join(WASM).join("worker/driftlock_worker.wasm"))
        .args(["--target", "module", "--no-typescript", "--out-name", "index", "--out-dir"])
        .arg(&built)
        .args(["--experimental-reset-state-function", "--force-enable-abort-handler"])
        // Names are two fifths of what is downloaded and compiled at every cold start.
        .arg("--remove-name-section"))?;
    for (from, name) in [("crates/worker/entry.mjs", "entry.mjs"), ("gateway.toml", "gateway.toml")]
    {
        fs::copy(workspace.root.join(from), built.join(name))
            .with_context(|| format!("cannot copy {from}"))?;
    }
    finish(&built)
}

/// Builds the Worker and runs its tests.
///
/// # Errors
/// If it does not build, or a test fails.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    prepare(workspace)?;
    test_prepared(workspace)
}

/// Builds the Worker as its tests want it.
///
/// # Errors
/// If a tool cannot be had, or it does not build.
pub(crate) fn prepare(workspace: &Workspace) -> Result<()> {
    ensure_node(workspace)?;
    lint(workspace)?;
    build(workspace)?;
    build_as(workspace, Build::WithPanicTrigger)
}

/// Runs the tests of a Worker that is [prepared](prepare).
///
/// # Errors
/// If a test fails.
pub(crate) fn test_prepared(workspace: &Workspace) -> Result<()> {
    build_programs(workspace)?;
    // wrangler builds the Worker anew, and the other tests must not find it half-written.
    let is_wrangler_s = |path: &PathBuf| path.ends_with(WRANGLER_TEST);
    let (of_wrangler, others): (Vec<_>, Vec<_>) =
        test_files(workspace)?.into_iter().partition(is_wrangler_s);
    for files in [others, of_wrangler] {
        let mut node = workspace.command("node");
        node.args(["--test", "--test-reporter=spec"])
            // They wait for timers more than for processors.
            .arg("--test-concurrency=2")
            .args(files);
        run(with_programs(workspace, &mut node))?;
    }
    Ok(())
}

/// Builds what the Worker's tests and measurements start beside it.
fn build_programs(workspace: &Workspace) -> Result<()> {
    // With an example among them they are of the features that tests are built with, so that
    // nothing they depend on is compiled again.
    let programs = ["--bin=driftlock", "--bin=driftlock-e2e", "--example=supabase"];
    run(workspace.cargo().args(["build", "--quiet", "--workspace"]).args(programs))
}

/// Tells a command where they are.
fn with_programs<'a>(workspace: &Workspace, command: &'a mut Command) -> &'a mut Command {
    let program = |name: &str| workspace.target.join("debug").join(name);
    command
        .env("DRIFTLOCK_BIN", program("driftlock"))
        .env("DRIFTLOCK_E2E_BIN", program("driftlock-e2e"))
        .env("DRIFTLOCK_SUPABASE_BIN", program("examples/supabase"))
}

/// Builds the Worker and runs one of the measurements of `bench/worker`.
///
/// # Errors
/// If it does not build, a program is missing, or a bound is exceeded.
pub(crate) fn measure(workspace: &Workspace, script: &str) -> Result<()> {
    ensure_node(workspace)?;
    build(workspace)?;
    build_programs(workspace)?;
    let mut node = workspace.command("node");
    run(with_programs(workspace, node.arg(format!("bench/worker/{script}.mjs"))))
}

/// Node 20 expands no patterns.
fn test_files(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let folder = workspace.root.join(CRATE).join("test");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("there are no tests in {}", folder.display());
    }
    files.sort();
    Ok(files)
}

/// The lints of the host build see nothing of a crate that is for wasm only.
fn lint(workspace: &Workspace) -> Result<()> {
    let mut clippy = wasm_cargo(workspace)?;
    clippy.args(["clippy", "--quiet", "--target", WASM, "--package", "driftlock-worker"]);
    run(clippy.args(["--", "-D", "warnings"]))
}

/// Puts the entry module beside the bindings. Workers know no source-phase import, for which the
/// plain import of a `.wasm` module, a compiled module there too, stands in.
fn finish(built: &Path) -> Result<()> {
    let module = built.join("index_bg.wasm");
    let wasm = fs::read(&module).with_context(|| format!("no {}", module.display()))?;
    let foreign = imports::foreign(&wasm)?;
    if !foreign.is_empty() {
        bail!(
            "the Worker's module imports what no Worker provides: {}. Something below it reads a \
             clock, randomness or files of its own.",
            foreign.join(", ")
        );
    }
    let index = built.join("index.js");
    let text = fs::read_to_string(&index).context("wasm-bindgen wrote no index.js")?;
    fs::write(&index, text.replace("import source ", "import "))?;
    let size = fs::metadata(built.join("index_bg.wasm"))?.len();
    println!("worker: index_bg.wasm has {} kB", size / 1_000);
    Ok(())
}

/// The bindings' generator must be of the version the crate was built against.
fn locked_version(workspace: &Workspace) -> Result<()> {
    let lock: toml::Table = fs::read_to_string(workspace.root.join("Cargo.lock"))?.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let locked = packages
        .filter(|package| package.get("name").and_then(toml::Value::as_str) == Some("wasm-bindgen"))
        .find_map(|package| package.get("version").and_then(toml::Value::as_str))
        .context("Cargo.lock holds no wasm-bindgen")?;
    if locked != WASM_BINDGEN.version {
        bail!(
            "Cargo.lock holds wasm-bindgen {locked}, xtask/src/worker.rs {}: change them together",
            WASM_BINDGEN.version
        );
    }
    Ok(())
}

fn ensure_node(workspace: &Workspace) -> Result<()> {
    if !on_path("node") || !on_path("npm") {
        bail!("Node.js {NODE_MAJOR_MIN} or newer with npm is missing: https://nodejs.org");
    }
    let version = output(workspace.command("node").arg("--version"))?;
    let major = version.trim_start_matches('v').split('.').next().unwrap_or_default();
    if major.parse::<u32>().unwrap_or(0) < NODE_MAJOR_MIN {
        bail!("Node.js {version} is too old: {NODE_MAJOR_MIN} or newer is needed");
    }
    let installed: PathBuf = workspace.root.join("node_modules/.package-lock.json");
    let locked = workspace.root.join("package-lock.json");
    let current = match (fs::metadata(&installed), fs::metadata(&locked)) {
        (Ok(installed), Ok(locked)) => installed.modified()? >= locked.modified()?,
        _ => false,
    };
    if !current {
        run(workspace.command("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    }
    Ok(())
}
