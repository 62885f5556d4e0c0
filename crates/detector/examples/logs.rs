//! Does the detector find a burst of foreign lines in a real log, and is it quiet otherwise?
//!
//! ```text
//! cargo run --release -p driftlock-detector --example logs -- \
//!     [--lines=3000] [--burst=20] [--json] [--verbose] /var/log/dpkg.log FILE FILE…
//! ```
//!
//! Of every file the last lines are taken. One run is over them as they are: each of its
//! findings is false. Twelve more have a burst of lines in a row from the other files, by turns,
//! put in at places spread evenly. A finding that overlaps the burst finds it; any other is
//! false unless it lies, shifted, in the quiet run too, where it was counted. Nothing is random.

use std::io::Write as _;
use std::ops::Range;
use std::time::Instant;

use driftlock_detector::detect::{Report, detect};
use driftlock_detector::event::Event;
use driftlock_detector::settings::Settings;

const INJECTIONS: usize = 12;

type Failure = Box<dyn std::error::Error>;

struct Options {
    lines: usize,
    burst: usize,
    json: bool,
    verbose: bool,
    files: Vec<String>,
}

struct Log {
    name: String,
    lines: Vec<String>,
}

#[derive(Default)]
struct Row {
    found: usize,
    wrong: usize,
    quiet: usize,
    milliseconds: f64,
}

fn main() -> Result<(), Failure> {
    let options = options()?;
    let mut out = std::io::stdout().lock();
    let logs: Vec<Log> =
        options.files.iter().map(|file| read(file, options.lines)).collect::<Result<_, _>>()?;
    if !options.json {
        writeln!(
            out,
            "{:<28} {:>6} {:>11} {:>12} {:>12} {:>7} {:>7}",
            "file", "lines", "found", "quiet false", "other false", "windows", "ms/run"
        )?;
    }
    for log in &logs {
        let others: Vec<&Log> = logs.iter().filter(|other| other.name != log.name).collect();
        if others.is_empty() {
            return Err("two files at least: each gets lines of the others".into());
        }
        let (row, windows) = examine(log, &others, &options, &mut out)?;
        let per_run = row.milliseconds / (INJECTIONS as f64 + 1.0);
        if options.json {
            let line = serde_json::json!({
                "file": log.name, "lines": log.lines.len(), "injections": INJECTIONS,
                "burst": options.burst, "found": row.found, "quiet_false_findings": row.quiet,
                "other_false_findings": row.wrong, "windows": windows, "ms_per_run": per_run,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{:<28} {:>6} {:>5} of {INJECTIONS:>2} {:>12} {:>12} {windows:>7} {per_run:>7.0}",
                log.name,
                log.lines.len(),
                row.found,
                row.quiet,
                row.wrong,
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

fn read(file: &str, most: usize) -> Result<Log, Failure> {
    let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = lines[lines.len().saturating_sub(most)..].iter().map(|line| (*line).to_owned());
    Ok(Log { name: file.to_owned(), lines: kept.collect() })
}

fn examine(
    log: &Log,
    others: &[&Log],
    options: &Options,
    out: &mut impl std::io::Write,
) -> Result<(Row, usize), Failure> {
    let mut row = Row::default();
    let quiet = run(&log.lines, &mut row)?;
    row.quiet = quiet.findings.len();
    if options.verbose {
        tell(out, "quiet", &quiet)?;
    }
    for injection in 0..INJECTIONS {
        // A first baseline, then evenly spread; off the grid of windows.
        let room = log.lines.len().saturating_sub(60);
        let at = (60 + room * injection / INJECTIONS + injection * 7 % 10).min(log.lines.len());
        let other = &others[injection % others.len()].lines;
        let from = (other.len() * (injection + 1) / (INJECTIONS + 2)).min(other.len());
        let burst = &other[from..(from + options.burst).min(other.len())];
        let mut lines = log.lines[..at].to_vec();
        lines.extend_from_slice(burst);
        lines.extend_from_slice(&log.lines[at..]);
        let report = run(&lines, &mut row)?;
        let place = at..at + burst.len();
        let (hits, misses): (Vec<_>, Vec<_>) =
            report.findings.iter().partition(|finding| overlap(&finding.events, &place));
        row.found += usize::from(!hits.is_empty());
        let known = |events: &Range<usize>| {
            let shift = if events.start >= place.end { burst.len() } else { 0 };
            let events = events.start - shift..events.end - shift;
            quiet.findings.iter().any(|finding| overlap(&finding.events, &events))
        };
        row.wrong += misses.iter().filter(|finding| !known(&finding.events)).count();
        if options.verbose && hits.is_empty() {
            tell(out, &format!("burst at {place:?} missed, of {:?}", burst.first()), &report)?;
        }
    }
    Ok((row, quiet.windows_examined))
}

fn run(lines: &[String], row: &mut Row) -> Result<Report, Failure> {
    let started = Instant::now();
    let events: Vec<Event> = lines.iter().map(|line| Event::from_line(line)).collect();
    let report = detect(&events, &Settings::default())?;
    row.milliseconds += started.elapsed().as_secs_f64() * 1_000.0;
    Ok(report)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

fn tell(out: &mut impl std::io::Write, what: &str, report: &Report) -> Result<(), Failure> {
    writeln!(out, "  {what}: {} findings", report.findings.len())?;
    for finding in &report.findings {
        writeln!(out, "    {:?} {}", finding.events, finding.why)?;
    }
    Ok(())
}
