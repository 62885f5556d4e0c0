//! Formatting of measured times.

use std::fmt;
use std::fs;
use std::time::Duration;

/// The unit of process times in /proc on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// Median, 99th percentile and maximum.
pub(crate) struct Quantiles {
    sorted: Vec<Duration>,
}

impl Quantiles {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Self { sorted: times }
    }

    fn at(&self, percent: usize) -> f64 {
        let place = (self.sorted.len() * percent).div_ceil(100).max(1) - 1;
        self.sorted[place].as_secs_f64() * 1e3
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, most) = (self.at(50), self.at(99), self.at(100));
        write!(f, "p50 {p50:.2} ms  p99 {p99:.2} ms  most {most:.2} ms")
    }
}

/// User and system time of a process so far (proc(5): fields 14 and 15, behind the name).
pub(crate) fn cpu_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux, and it runs");
    let (_, rest) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = rest.split_ascii_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.map(|field| field.parse::<u32>().expect("a number")).sum();
    TICK * ticks
}
