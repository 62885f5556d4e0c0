//! `cargo deny`: licences, sources and bans of every dependency, and known vulnerabilities where
//! the advisory database can be fetched.

use anyhow::{Context, Result};

use crate::toolchain::Tool;
use crate::workspace::{Workspace, run as run_command, succeeds};

const CARGO_DENY: Tool = Tool { package: "cargo-deny", program: "cargo-deny", version: "0.20.2" };
const ADVISORIES: &str = "https://github.com/rustsec/advisory-db";

/// Installs the tool.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn prepare(workspace: &Workspace) -> Result<()> {
    CARGO_DENY.ensure(workspace).map(drop)
}

/// Checks every dependency against `deny.toml`.
///
/// # Errors
/// If a dependency is refused, or the tool cannot be installed.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let program = CARGO_DENY.ensure(workspace)?;
    let mut command = workspace.command(program);
    command.args(["--workspace", "check", "--hide-inclusion-graph"]);
    if advisories_reachable(workspace) {
        command.arg("all");
    } else {
        println!(
            "deny: {ADVISORIES} cannot be reached from here, so known vulnerabilities are NOT \
             checked; bans, licences and sources are"
        );
        command.args(["bans", "licenses", "sources"]);
    }
    run_command(&mut command).context("a dependency is refused by deny.toml")
}

fn advisories_reachable(workspace: &Workspace) -> bool {
    succeeds(
        workspace
            .command("timeout")
            .args(["20", "git", "ls-remote", "--exit-code", ADVISORIES, "HEAD"])
            .env("GIT_TERMINAL_PROMPT", "0"),
    )
}
