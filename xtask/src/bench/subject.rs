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

impl Subject {
    pub(super) fn of(name: &'static str, process: u32, url: String, script: PathBuf) -> Self {
        Self { name, process, url, script }
    }

    /// Loads it for so many seconds.
    pub(super) fn load(&self, seconds: u32) -> Result<Sample> {
        let mut wrk = pinned(Core::Load, "wrk");
        wrk.args(["-t1", "-c", CONNECTIONS, "-d", &seconds.to_string(), "-s"]);
        let before = ticks(self.process)?;
        let said = output(wrk.arg(&self.script).arg(&self.url))?;
        let used = (ticks(self.process)? - before) as f64;
        if said.contains("Non-2xx") || said.contains("Socket errors") {
            bail!("{} did not answer every request with success:\n{said}", self.name);
        }
        let requests = number_before(&said, " requests in").context("wrk told no requests")?;
        Ok(Sample {
            cpu_micros: used / TICKS_PER_SECOND * 1e6 / requests,
            requests_per_second: requests / f64::from(seconds),
        })
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
    fn the_number_of_requests() {
        assert_eq!(number_before("  123 requests in 2.00s, 1MB read", " requests in"), Some(123.0));
        assert_eq!(number_before("none", " requests in"), None);
    }
}
