//! Does a burst of foreign lines in a real log get found through a real gateway, is a quiet one
//! quiet, and is exactly what was asked charged?
//!
//! ```text
//! cargo run --release -p driftlock-e2e --example injections -- /var/log/dpkg.log FILE FILE…
//! ```
//!
//! It starts `driftlock dev` on free ports and in a directory of its own, makes an organization and
//! a key, and posts the last 3,000 lines of every file: once as they are, where each finding is
//! false, and twelve times with twenty lines in a row of the other files put in, by turns and at
//! places spread evenly. A finding that overlaps the burst finds it; another is false unless the
//! quiet run has it too. Then `driftlock usage` must show one unit a request, and `driftlock audit
//! verify` must hold. Nothing is random. (`driftlock-detector`'s example `logs` measures
//! the detector alone.)
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

#[path = "../tests/support"]
mod support {
    pub(crate) mod process;
    #[expect(dead_code, reason = "this one neither kills nor restarts its server")]
    pub(crate) mod server;
}

use std::ops::Range;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use driftlock_e2e::admin::{DETECT, Key, Organization};
use driftlock_e2e::target::Target;
use serde_json::{Value, json};
use support::server::Server;

const INJECTIONS: usize = 12;
const LINES_MAX: usize = 3_000;
const BURST: usize = 20;
/// A first baseline goes before the first burst.
const FIRST: usize = 60;

struct Log {
    name: String,
    lines: Vec<String>,
}

#[derive(Default)]
struct Row {
    found: usize,
    quiet: usize,
    wrong: usize,
}

fn main() -> Result<()> {
    let logs: Vec<Log> = std::env::args().skip(1).map(read).collect::<Result<_>>()?;
    ensure!(logs.len() >= 2, "name two log files at least: each gets lines of the others");
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
        let others: Vec<&Log> = logs.iter().filter(|other| other.name != log.name).collect();
        let row = examine(&key, log, &others)?;
        (requests, found) = (requests + 1 + INJECTIONS, found + row.found);
        let Row { found, quiet, wrong } = row;
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

fn read(file: String) -> Result<Log> {
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {file}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = lines[lines.len().saturating_sub(LINES_MAX)..].iter().copied().map(str::to_owned);
    let lines: Vec<String> = kept.collect();
    ensure!(lines.len() > FIRST, "{file} has only {} lines", lines.len());
    Ok(Log { name: file, lines })
}

fn examine(key: &Key<'_>, log: &Log, others: &[&Log]) -> Result<Row> {
    let quiet = detect(key, &log.lines)?;
    let mut row = Row { quiet: quiet.len(), ..Row::default() };
    for injection in 0..INJECTIONS {
        // Off the grid of windows.
        let room = log.lines.len() - FIRST;
        let at = (FIRST + room * injection / INJECTIONS + injection * 7 % 10).min(log.lines.len());
        let other = &others[injection % others.len()].lines;
        let from = other.len() * (injection + 1) / (INJECTIONS + 2);
        let burst = &other[from..(from + BURST).min(other.len())];
        let lines = [&log.lines[..at], burst, &log.lines[at..]].concat();
        let place = at..at + burst.len();
        let (hits, misses): (Vec<_>, Vec<_>) =
            detect(key, &lines)?.into_iter().partition(|finding| overlap(finding, &place));
        row.found += usize::from(!hits.is_empty());
        let is_known = |finding: &Range<usize>| {
            let shift = if finding.start >= place.end { burst.len() } else { 0 };
            let finding = finding.start - shift..finding.end - shift;
            quiet.iter().any(|known| overlap(known, &finding))
        };
        row.wrong += misses.iter().filter(|finding| !is_known(finding)).count();
    }
    Ok(row)
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

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}
