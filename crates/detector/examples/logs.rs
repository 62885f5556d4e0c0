//! Counts how often the detector finds a burst of foreign lines in a real log, and how often it has
//! other findings. `support/bursts.rs` explains the counting.
//!
//! ```text
//! cargo run --release -p driftlock-detector --example logs -- \
//!     [--lines=3000] [--burst=20] [--json] [--verbose] /var/log/dpkg.log FILE FILE…
//! ```

#[path = "support/bursts.rs"]
mod bursts;

use std::io::Write as _;
use std::time::Instant;

use bursts::{Counts, INJECTIONS, examine, overlap, read};
use driftlock_detector::detect::{Report, detect};
use driftlock_detector::event::Event;
use driftlock_detector::settings::Settings;

type Failure = Box<dyn std::error::Error>;

struct Options {
    lines: usize,
    burst: usize,
    json: bool,
    verbose: bool,
    files: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let options = options()?;
    let mut out = std::io::stdout().lock();
    let logs = read(&options.files, options.lines)?;
    if !options.json {
        writeln!(
            out,
            "{:<28} {:>6} {:>11} {:>12} {:>12} {:>7} {:>7}",
            "file", "lines", "found", "quiet false", "other false", "windows", "ms/run"
        )?;
    }
    for log in &logs {
        let (mut milliseconds, mut windows) = (0.0, 0);
        let counts = examine(log, &logs, options.burst, |lines, place| {
            let started = Instant::now();
            let events: Vec<Event> = lines.iter().map(|line| Event::from_line(line)).collect();
            let report = detect(&events, &Settings::default())?;
            milliseconds += started.elapsed().as_secs_f64() * 1_000.0;
            let found: Vec<_> = report.findings.iter().map(|one| one.events.clone()).collect();
            match place {
                None => windows = report.windows_examined,
                Some(place) if found.iter().any(|events| overlap(events, place)) => {
                    return Ok(found);
                }
                Some(_) => {}
            }
            if options.verbose {
                tell(
                    &mut out,
                    place.map_or("quiet".to_owned(), |at| format!("missed {at:?}")),
                    &report,
                )?;
            }
            Ok::<_, Failure>(found)
        })?;
        let Counts { found, quiet, wrong } = counts;
        let (name, lines) = (&log.name, log.lines.len());
        let per_run = milliseconds / (INJECTIONS as f64 + 1.0);
        if options.json {
            let line = serde_json::json!({
                "file": name, "lines": lines, "injections": INJECTIONS, "burst": options.burst,
                "found": found, "quiet_false_findings": quiet, "other_false_findings": wrong,
                "windows": windows, "ms_per_run": per_run,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{name:<28} {lines:>6} {found:>5} of {INJECTIONS:>2} {quiet:>12} {wrong:>12} \
                 {windows:>7} {per_run:>7.0}"
            )?;
        }
    }
    Ok(())
}

fn options() -> Result<Options, Failure> {
    let mut options =
        Options { lines: 3_000, burst: 20, json: false, verbose: false, files: Vec::new() };
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("--lines", number)) => options.lines = number.parse()?,
            Some(("--burst", number)) => options.burst = number.parse()?,
            _ if argument == "--json" => options.json = true,
            _ if argument == "--verbose" => options.verbose = true,
            _ if argument.starts_with("--") => return Err(format!("unknown {argument}").into()),
            _ => options.files.push(argument),
        }
    }
    Ok(options)
}

fn tell(out: &mut impl std::io::Write, what: String, report: &Report) -> Result<(), Failure> {
    writeln!(out, "  {what}: {} findings", report.findings.len())?;
    for finding in &report.findings {
        writeln!(out, "    {:?} {}", finding.events, finding.why)?;
    }
    Ok(())
}
