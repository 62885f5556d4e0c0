//! Inserts bursts of foreign lines into real logs, and counts which of them are found.
//!
//! The last lines of each file are used. One run takes them unchanged: each of its findings is
//! false. Twelve more runs insert a burst of consecutive lines from one of the other files, at
//! evenly spread places. A finding that overlaps the burst is correct. Any other finding is false,
//! unless the unchanged run has it too (shifted), where it was counted. Nothing is random.

use std::io;
use std::ops::Range;

/// Runs with a burst, of each file.
pub(crate) const INJECTIONS: usize = 12;
/// A first baseline goes before the first burst.
const FIRST: usize = 60;

/// A file's last lines, but for empty ones.
pub(crate) struct Log {
    pub(crate) name: String,
    pub(crate) lines: Vec<String>,
}

/// The counts for one file.
#[derive(Default)]
pub(crate) struct Counts {
    /// Bursts found.
    pub(crate) found: usize,
    /// False findings in the file as it is.
    pub(crate) quiet: usize,
    /// Other false findings.
    pub(crate) wrong: usize,
}

/// Reads files, so many lines of each at most.
///
/// # Errors
/// A file that cannot be read, or is too short; fewer than two files.
pub(crate) fn read(files: &[String], lines_max: usize) -> io::Result<Vec<Log>> {
    if files.len() < 2 {
        return Err(io::Error::other("name two log files at least: each gets lines of the others"));
    }
    files.iter().map(|file| read_one(file, lines_max)).collect()
}

fn read_one(file: &str, lines_max: usize) -> io::Result<Log> {
    let bytes =
        std::fs::read(file).map_err(|error| io::Error::other(format!("{file}: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = lines[lines.len().saturating_sub(lines_max)..].iter().copied().map(str::to_owned);
    let lines: Vec<String> = kept.collect();
    if lines.len() <= FIRST {
        return Err(io::Error::other(format!("{file} has only {} lines", lines.len())));
    }
    Ok(Log { name: file.to_owned(), lines })
}

/// Counts what `detect` finds in a log, with bursts of this many lines of the other logs. `detect`
/// gets the place of the burst, if there is one, and returns the events of each finding.
///
/// # Errors
/// The errors of `detect`.
pub(crate) fn examine<E>(
    log: &Log,
    all: &[Log],
    burst_lines: usize,
    mut detect: impl FnMut(&[String], Option<&Range<usize>>) -> Result<Vec<Range<usize>>, E>,
) -> Result<Counts, E> {
    let others: Vec<&Log> = all.iter().filter(|other| other.name != log.name).collect();
    let quiet = detect(&log.lines, None)?;
    let mut counts = Counts { quiet: quiet.len(), ..Counts::default() };
    for injection in 0..INJECTIONS {
        // Off the grid of windows.
        let room = log.lines.len() - FIRST;
        let at = (FIRST + room * injection / INJECTIONS + injection * 7 % 10).min(log.lines.len());
        let other = &others[injection % others.len()].lines;
        let from = other.len() * (injection + 1) / (INJECTIONS + 2);
        let burst = &other[from..(from + burst_lines).min(other.len())];
        let lines = [&log.lines[..at], burst, &log.lines[at..]].concat();
        let place = at..at + burst.len();
        let (hits, misses): (Vec<_>, Vec<_>) =
            detect(&lines, Some(&place))?.into_iter().partition(|finding| overlap(finding, &place));
        counts.found += usize::from(!hits.is_empty());
        let is_known = |finding: &Range<usize>| {
            let shift = if finding.start >= place.end { burst.len() } else { 0 };
            let finding = finding.start - shift..finding.end - shift;
            quiet.iter().any(|known| overlap(known, &finding))
        };
        counts.wrong += misses.iter().filter(|finding| !is_known(finding)).count();
    }
    Ok(counts)
}

/// Whether two ranges of events have one in common.
pub(crate) fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}
