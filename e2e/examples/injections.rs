//! Measures detection through a real gateway: whether a burst of foreign lines in a real log is
//! found, whether an unchanged log has no finding, and whether each request is charged exactly
//! once.
//!
//! ```text
//! cargo run --release -p driftlock-e2e --example injections -- /var/log/dpkg.log FILE FILE…
//! ```
//!
//! It starts `driftlock dev` on free ports and in a temporary directory, and makes an organization
//! and a key. It posts the last 3,000 lines of every file thirteen times, twelve of them with
//! twenty lines of the other files; the detector's `examples/support/bursts.rs` says how findings
//! are counted. Then `driftlock usage` must show one unit a request, and `driftlock audit verify`
//! must hold.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

#[path = "../../crates/detector/examples/support/bursts.rs"]
mod bursts;
#[path = "../tests/support"]
mod support {
    pub(crate) mod process;
    #[expect(dead_code, reason = "this one neither kills nor restarts its server")]
    pub(crate) mod server;
}

use std::ops::Range;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bursts::{Counts, INJECTIONS, examine, read};
use driftlock_e2e::admin::{DETECT, Key, Organization};
use driftlock_e2e::target::Target;
use serde_json::{Value, json};
use support::server::Server;

const LINES_MAX: usize = 3_000;
const BURST: usize = 20;

fn main() -> Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let logs = read(&files, LINES_MAX)?;
    let server = Server::start("");
    let target = server.target();
    let organization = Organization::subscribed(&target, &json!({"included": 1_000_000}));
    let key = organization.key();
    println!(
        "{:<28} {:>6} {:>9} {:>12} {:>12}",
        "file", "lines", "found", "quiet false", "other false"
    );
    let (mut requests, mut found) = (0, 0);
    for log in &logs {
        let counts = examine(log, &logs, BURST, |lines, _| detect(&key, lines))?;
        (requests, found) = (requests + 1 + INJECTIONS, found + counts.found);
        let Counts { found, quiet, wrong } = counts;
        let lines = log.lines.len();
        println!("{:<28} {lines:>6} {found:>3} of {INJECTIONS} {quiet:>12} {wrong:>12}", log.name);
    }
    println!("{found} of {} bursts found", logs.len() * INJECTIONS);

    let usage = command(&target, &["usage", &organization.id, "--json"])?;
    ensure!(usage["units"] == requests, "{requests} requests, and the usage is {usage}");
    println!("{requests} requests, {} units", usage["units"]);
    let verdict = command(&target, &["audit", "verify", &organization.id, "--json"])?;
    ensure!(verdict["ok"] == true, "{verdict}");
    println!("the audit log of {} entries holds", verdict["entries"]);
    Ok(())
}

/// One metered request; the events of each finding.
fn detect(key: &Key<'_>, lines: &[String]) -> Result<Vec<Range<usize>>> {
    let answer = key.call("POST", DETECT).json(&json!({ "data": lines })).send();
    ensure!(answer.status == 200, "{}", answer.text());
    answer.receipt();
    let json = answer.json();
    let place = |anomaly: &Value, name: &str| {
        anomaly[name].as_u64().and_then(|at| usize::try_from(at).ok()).context("no place")
    };
    let anomalies = json["anomalies"].as_array().context("no anomalies")?;
    anomalies.iter().map(|one| Ok(place(one, "index")?..place(one, "end_index")?)).collect()
}

/// What a command says of this gateway.
fn command(target: &Target, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(support::process::build());
    command.args(arguments).args(["--url", &target.base_url]);
    let output = command.env("ENV_ADMIN_TOKEN", &target.admin_token).output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}
