//! Does the detector find a burst of foreign lines in a real log, and is it quiet otherwise?
//!
//! ```text
//! cargo run --release -p driftlock-detector --example injections -- /var/log/dpkg.log …
//! ```
//!
//! Per file: ten runs, each with one burst of 10 to 20 lines (kernel oops, SQL errors, stack
//! trace) at another place, and one run of the file as it is. A finding that overlaps the burst
//! counts as found, any other as false. With `--json` each row is one line of JSON.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use driftlock_detector::detect::detect;
use driftlock_detector::event::Event;
use driftlock_detector::settings::Settings;

const INJECTIONS: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, files): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let json = flags.iter().any(|flag| flag == "--json");
    let verbose = flags.iter().any(|flag| flag == "--verbose");
    let mut out = std::io::stdout().lock();
    if !json {
        writeln!(
            out,
            "{:<32} {:>7} {:>10} {:>6} {:>6} {:>12} {:>9} {:>12}",
            "file",
            "lines",
            "injections",
            "found",
            "false",
            "quiet false",
            "ms/run",
            "ms/10k lines"
        )?;
    }
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let row = examine(&lines, verbose)?;
        let per_run = row.milliseconds / (INJECTIONS as f64 + 1.0);
        let per_10k = per_run * 10_000.0 / lines.len().max(1) as f64;
        if json {
            let line = serde_json::json!({
                "file": file, "lines": lines.len(), "injections": INJECTIONS, "found": row.found,
                "false_findings": row.wrong, "quiet_false_findings": row.quiet,
                "ms_per_run": per_run, "ms_per_10k_lines": per_10k,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{file:<32} {:>7} {INJECTIONS:>10} {:>6} {:>6} {:>12} {per_run:>9.0} {per_10k:>12.0}",
                lines.len(),
                row.found,
                row.wrong,
                row.quiet
            )?;
        }
        write!(out, "{}", row.notes)?;
    }
    Ok(())
}

#[derive(Default)]
struct Row {
    found: usize,
    wrong: usize,
    quiet: usize,
    milliseconds: f64,
    notes: String,
}

fn examine(lines: &[&str], verbose: bool) -> Result<Row, Box<dyn std::error::Error>> {
    let mut row = Row::default();
    for injection in 0..=INJECTIONS {
        let size = if injection == INJECTIONS { 0 } else { 10 + injection };
        let at = 60 + (lines.len().saturating_sub(60)) * injection / INJECTIONS;
        let at = at.min(lines.len());
        let burst = burst(injection, size);
        let started = Instant::now();
        let events: Vec<Event> = lines[..at]
            .iter()
            .copied()
            .chain(burst.iter().map(String::as_str))
            .chain(lines[at..].iter().copied())
            .map(Event::from_line)
            .collect();
        let report = detect(&events, &Settings::default())?;
        row.milliseconds += started.elapsed().as_secs_f64() * 1_000.0;
        let hits = |range: &std::ops::Range<usize>| range.start < at + size && range.end > at;
        let found = report.findings.iter().filter(|finding| hits(&finding.events)).count();
        let wrong = report.findings.len() - found;
        row.found += usize::from(found > 0);
        if size == 0 {
            row.quiet = wrong
        } else {
            row.wrong += wrong
        }
        if verbose && (size == 0 || found == 0) {
            writeln!(row.notes, "  burst of {size} at {at}: {found} found, {wrong} false")?;
            for finding in &report.findings {
                writeln!(row.notes, "    {:?} {}", finding.events, finding.why)?;
            }
        }
    }
    Ok(row)
}

/// Foreign lines of one of three sorts. They differ among each other as real ones do.
fn burst(injection: usize, size: usize) -> Vec<String> {
    const FUNCTIONS: [&str; 7] = [
        "ext4_find_entry",
        "do_page_fault",
        "vfs_read",
        "tcp_v4_rcv",
        "schedule_timeout",
        "kmem_cache_alloc",
        "ret_from_fork",
    ];
    const TABLES: [&str; 4] = ["invoices", "sessions", "audit_entries", "subscribers"];
    (0..size)
        .map(|line| match injection % 3 {
            0 => format!(
                "[{}.{:06}] BUG: unable to handle kernel paging request at {:016x}: {}+0x{:x}/0x2b0",
                4_210 + line, line * 7_919, 0xffff_8800_0000_0000_u64 + line as u64 * 4_096,
                FUNCTIONS[line % 7], line * 17
            ),
            1 => format!(
                "ERROR: deadlock detected while inserting tuple ({line},{}) in relation \"{}\" (SQLSTATE 40P01)",
                line * 3, TABLES[line % 4]
            ),
            _ => format!(
                "    at com.acme.billing.{}.invoke(Ledger.java:{}) ~[billing-service.jar:?]",
                FUNCTIONS[line % 7], 100 + line * 13
            ),
        })
        .collect()
}
