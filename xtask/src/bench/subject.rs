//! One server under load: how many requests it answered, and the CPU time that they took.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::stand::{Core, pinned};
use crate::workspace::output;

/// Keep-alive connections of the load generator.
const CONNECTIONS: &str = "64";
/// The unit of process times in /proc on every Linux that Rust runs on, per second.
const TICKS_PER_SECOND: f64 = 100.0;

/// See the module.
pub(super) struct Subject {
    pub(super) name: &'static str,
    process: u32,
    url: String,
    script: PathBuf,
}

/// What one round found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// User and system time of all the server's threads, per request.
    pub(super) cpu_micros: f64,
    pub(super) requests_per_second: f64,
}

/// What a lone client waited, at percentiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub(super) p50_micros: f64,
    pub(super) p99_micros: f64,
}

impl Subject {
    pub(super) fn of(name: &'static str, process: u32, url: String, script: PathBuf) -> Self {
        Self { name, process, url, script }
    }

    /// What one connection waits for each answer, for so many seconds.
    pub(super) fn waits(&self, seconds: u32) -> Result<Waits> {
        let said = self.wrk("1", seconds)?;
        let at =
            |percentile: &str| percentile_micros(&said, percentile).context("wrk printed none");
        Ok(Waits { p50_micros: at("50%")?, p99_micros: at("99%")? })
    }

    /// Loads it for so many seconds.
    pub(super) fn load(&self, seconds: u32) -> Result<Sample> {
        let before = ticks(self.process)?;
        let said = self.wrk(CONNECTIONS, seconds)?;
        let used = (ticks(self.process)? - before) as f64;
        let requests = number_before(&said, " requests in").context("wrk printed no requests")?;
        Ok(Sample {
            cpu_micros: used / TICKS_PER_SECOND * 1e6 / requests,
            requests_per_second: requests / f64::from(seconds),
        })
    }

    fn wrk(&self, connections: &str, seconds: u32) -> Result<String> {
        let mut wrk = pinned(Core::Load, "wrk");
        wrk.args(["-t1", "--latency", "-c", connections, "-d", &seconds.to_string(), "-s"]);
        let said = output(wrk.arg(&self.script).arg(&self.url))?;
        if said.contains("Non-2xx") || said.contains("Socket errors") {
            bail!("{} did not answer every request with success:\n{said}", self.name);
        }
        Ok(said)
    }
}

/// What fetches a URL, for waiting until a server answers.
pub(super) fn answers(url: &str) -> bool {
    let mut curl = Command::new("curl");
    crate::workspace::succeeds(curl.args(["--silent", "--max-time", "1", url]))
}

fn ticks(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    parse_ticks(&text).context("/proc/PID/stat has another form")
}

/// User and system time: the 14th and 15th field, counted behind the name, which may have spaces.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (times.next()?.parse().ok()?, times.next()?.parse().ok()?);
    Some(user + system)
}

fn number_before(text: &str, words: &str) -> Option<f64> {
    let (before, _) = text.split_once(words)?;
    before.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The line `50%  123.00us` of wrk's distribution; it also tells milliseconds and seconds.
fn percentile_micros(text: &str, percentile: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(percentile))?.trim();
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let found = units.iter().find_map(|(unit, micros)| Some((line.strip_suffix(unit)?, micros)));
    let (number, micros) = found?;
    Some(number.trim().parse::<f64>().ok()? * micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 900 0 0 0 25 17 0 0 20 0 4";
        assert_eq!(parse_ticks(stat), Some(42));
        assert_eq!(parse_ticks("7 (a"), None);
    }

    #[test]
    fn percentiles_in_any_unit() {
        let said =
            "  Latency Distribution\n     50%  123.50us\n     75%    2.00ms\n     99%    1.00s\n";
        assert_eq!(percentile_micros(said, "50%"), Some(123.5));
        assert_eq!(percentile_micros(said, "75%"), Some(2_000.0));
        assert_eq!(percentile_micros(said, "99%"), Some(1_000_000.0));
        assert_eq!(percentile_micros(said, "90%"), None);
    }

    #[test]
    fn the_number_of_requests() {
        assert_eq!(number_before("  123 requests in 2.00s, 1MB read", " requests in"), Some(123.0));
        assert_eq!(number_before("none", " requests in"), None);
    }
}
