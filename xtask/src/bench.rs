//! What a request costs: the gateway's CPU time against nginx as a bare proxy, in one run.
//!
//! Absolute numbers drift with the machine and with whatever else runs on it, so rounds of all
//! subjects alternate, medians are taken, and what counts is the ratio to nginx. With two cores or
//! more the subject has the first one, load generator and backend the last one.

mod shared;
mod stand;
mod subject;

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::system;
use crate::workspace::{Workspace, run};
pub(crate) use shared::run as shared_limits;
use stand::Stand;
use subject::{Sample, Subject};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rounds over all subjects; the median counts.
    pub(crate) rounds: usize,
    /// How long a round loads each subject, in seconds.
    pub(crate) seconds: u32,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Programs that a measurement needs, and the Debian packages that bring them.
const NEEDS: &[(&str, &str)] = &[("nginx", "nginx-light"), ("wrk", "wrk"), ("curl", "curl")];

/// Makes sure that they are there.
///
/// # Errors
/// If one is missing and cannot be installed.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    system::programs(workspace, NEEDS)
}

struct Row {
    name: &'static str,
    median: Sample,
    ratio: f64,
}

/// Measures and prints the CPU time per request.
///
/// # Errors
/// If a program is missing (the message says what to install), a server does not start, or an
/// answer is not a success.
pub(crate) fn cpu(workspace: &Workspace, extent: Extent, form: Form) -> Result<()> {
    let program = gateway(workspace)?;
    let folder = Folder::make(workspace)?;
    let stand = Stand::start(&program, &folder.0)?;
    let subjects = stand.subjects(&folder.0)?;
    let mut samples = vec![Vec::new(); subjects.len()];
    for _ in 0..extent.rounds.max(1) {
        for (subject, taken) in subjects.iter().zip(&mut samples) {
            taken.push(subject.load(extent.seconds.max(1))?);
        }
    }
    let rows = rows(&subjects, samples);
    match form {
        Form::Table => rows.iter().for_each(Row::print),
        Form::Json => println!("{}", Value::from_iter(rows.iter().map(Row::json))),
    }
    Ok(())
}

/// The gateway as it is released, once everything is there to measure it.
fn gateway(workspace: &Workspace) -> Result<PathBuf> {
    if !cfg!(target_os = "linux") {
        bail!("CPU times are read from /proc: this needs Linux");
    }
    ensure(workspace)?;
    run(workspace.cargo().args(["build", "--profile", "dist", "--package", "driftlock"]))?;
    Ok(workspace.target.join("dist/driftlock"))
}

/// Measures with a test of the black-box suite's, in release.
///
/// # Errors
/// If it does not build or run, or something is not answered with success.
pub(crate) fn tests(workspace: &Workspace, name: &str) -> Result<()> {
    run(workspace
        .cargo()
        .args(["test", "--release", "--quiet", "--package", "driftlock-e2e"])
        .args(["--test", name, "--", "--nocapture"]))
}

/// The first subject is what the others are compared with.
fn rows(subjects: &[Subject], samples: Vec<Vec<Sample>>) -> Vec<Row> {
    let medians: Vec<Sample> = samples.into_iter().map(median).collect();
    let base = medians.first().map_or(f64::NAN, |first| first.cpu_micros);
    let named = subjects.iter().zip(medians);
    named
        .map(|(subject, median)| Row {
            name: subject.name,
            ratio: median.cpu_micros / base,
            median,
        })
        .collect()
}

fn median(mut samples: Vec<Sample>) -> Sample {
    samples.sort_by(|one, other| one.cpu_micros.total_cmp(&other.cpu_micros));
    samples[samples.len() / 2]
}

impl Row {
    fn print(&self) {
        let Self { name, median, ratio } = self;
        println!(
            "{name:<28} {:>7.2} µs/request  {ratio:>5.2} × nginx  {:>8.0} requests/s",
            median.cpu_micros, median.requests_per_second
        );
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "cpu_micros": self.median.cpu_micros,
            "ratio": self.ratio,
            "requests_per_second": self.median.requests_per_second,
        })
    }
}

/// A folder that is gone with the measurement.
struct Folder(PathBuf);

impl Folder {
    fn make(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target.join("bench").join(std::process::id().to_string());
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is below the target directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians_to_the_first() {
        let subject = |name| Subject::of(name, 1, String::new(), PathBuf::new());
        let sample = |cpu_micros| Sample { cpu_micros, requests_per_second: 1.0 };
        let taken = vec![vec![10.0, 50.0, 12.0], vec![24.0, 18.0, 90.0]];
        let samples = taken.into_iter().map(|of| of.into_iter().map(sample).collect()).collect();
        let rows = rows(&[subject("nginx"), subject("gateway")], samples);
        assert!((rows[0].ratio - 1.0).abs() < 1e-9);
        assert!((rows[1].ratio - 2.0).abs() < 1e-9);
    }
}
