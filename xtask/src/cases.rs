//! The request cases beside other proxies: a test that only runs when it is asked for.

use anyhow::{Result, bail};

use crate::workspace::{Workspace, on_path, run};

/// Prints the table.
///
/// # Errors
/// If nginx or HAProxy is missing, or the test cannot run.
pub(crate) fn print(workspace: &Workspace) -> Result<()> {
    for program in ["nginx", "haproxy"] {
        if !on_path(program) {
            bail!("{program} is missing: apt-get install {program}");
        }
    }
    run(workspace.cargo().args(["test", "--quiet", "--package", "driftlock-e2e"]).args([
        "--test",
        "peers",
        "--",
        "--nocapture",
    ]))
}
