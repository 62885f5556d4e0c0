//! The request cases beside other proxies: a test that only runs when it is asked for.

use anyhow::Result;

use crate::system;
use crate::workspace::{Workspace, run};

/// Prints the table.
///
/// # Errors
/// If nginx or HAProxy cannot be had, or the test cannot run.
pub(crate) fn print(workspace: &Workspace) -> Result<()> {
    system::programs(workspace, &[("nginx", "nginx"), ("haproxy", "haproxy")])?;
    run(workspace.cargo().args(["test", "--quiet", "--package", "driftlock-e2e"]).args([
        "--test",
        "peers",
        "--",
        "--nocapture",
    ]))
}
