//! `cargo xtask prove NAME`: measurements that take too long for every test run.
//!
//! A proof is an ordinary integration test whose size comes from environment variables: small when
//! `cargo xtask test` runs it, large here. It prints each figure to standard error, as a line
//! `figure NAME = VALUE`.
//! This module runs the large one and writes `proofs/NAME.json` (command, commit, time, figures),
//! which is committed. `cargo xtask test` then prints, for each proof, how many commits have
//! changed the paths that the proof guards since it ran.
//!
//! Invariant: a record names a commit whose files are exactly those that were measured, so a proof
//! does not run with uncommitted changes.

mod list;
mod record;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, on_path, output};
use list::{Build, PROOFS, Proof};
use record::Record;

/// The seed of a proof's random choices unless `--seed` gives another.
pub(crate) const SEED: u64 = 1;

/// Prints every proof with its age.
///
/// # Errors
/// If a record cannot be read.
pub(crate) fn print_ages(workspace: &Workspace) -> Result<()> {
    for proof in PROOFS {
        let age = match Record::read(workspace, proof.name)? {
            Some(record) => age(workspace, proof, &record),
            None => format!("never run: `cargo xtask prove {}`", proof.name),
        };
        println!("{:<18} {age}", proof.name);
        println!("{:<18} {}", "", proof.claim);
    }
    Ok(())
}

/// How many commits changed what a proof guards since it ran.
fn age(workspace: &Workspace, proof: &Proof, record: &Record) -> String {
    let range = format!("{}..HEAD", record.commit);
    let mut git = workspace.command("git");
    git.args(["rev-list", "--count", &range, "--"]).args(proof.guards).stderr(Stdio::null());
    match output(&mut git) {
        Ok(count) if count == "0" => format!("current, ran at {}", record.short_commit()),
        Ok(count) => {
            format!("{count} commits behind in its paths, ran at {}", record.short_commit())
        }
        Err(_) => format!("ran at {}, a commit that is not in this history", record.short_commit()),
    }
}

/// Runs one proof and writes its record.
///
/// # Errors
/// If there is no such proof, there are uncommitted changes, the test fails, or it prints no
/// figure.
pub(crate) fn run(workspace: &Workspace, name: &str, seed: u64) -> Result<()> {
    let Some(proof) = PROOFS.iter().find(|proof| proof.name == name) else {
        let names: Vec<&str> = PROOFS.iter().map(|proof| proof.name).collect();
        bail!("there is no proof {name:?}; there are: {}", names.join(", "));
    };
    // The records of other proofs may wait to be committed.
    let status = ["status", "--porcelain", "--", ".", ":!proofs"];
    let changed = output(workspace.command("git").args(status))?;
    if !changed.is_empty() {
        bail!(
            "commit or stash these changes first, so that the record names what was measured:\n{changed}"
        );
    }
    for (program, package) in proof.programs {
        if !on_path(program) {
            bail!("the proof {name} needs `{program}`; install {package}");
        }
    }
    let commit = output(workspace.command("git").args(["rev-parse", "HEAD"]))?;
    let date = output(workspace.command("date").args(["--utc", "+%Y-%m-%dT%H:%M:%SZ"]))?;
    let began = Instant::now();
    let figures = measure(workspace, proof, seed)?;
    if figures.is_empty() {
        bail!("the proof {name} printed no line `figure NAME = VALUE`");
    }
    let command = format!("cargo xtask prove {name} --seed {seed}");
    let took_secs = began.elapsed().as_secs();
    let record = Record {
        name: name.to_owned(),
        claim: proof.claim.to_owned(),
        command,
        commit,
        date,
        took_secs,
        seed,
        figures,
    };
    let path = record.write(workspace)?;
    println!("wrote {}", workspace.relative(&path).display());
    Ok(())
}

/// Runs the proof's test and collects its figures; everything it prints is passed on as it comes.
fn measure(workspace: &Workspace, proof: &Proof, seed: u64) -> Result<Vec<(String, String)>> {
    let mut cargo = workspace.cargo();
    // With the features of the whole workspace, so that what the ordinary tests built serves here.
    cargo.args(["test", "--workspace", "--test", proof.test]);
    if proof.build == Build::Release {
        cargo.arg("--release");
    }
    cargo.args(["--", "--nocapture", "--test-threads=1"]);
    cargo.args(proof.filter);
    cargo.envs(proof.settings.iter().copied()).env("DRIFTLOCK_SEED", seed.to_string());
    // Tests print figures to standard error; the test harness writes to standard output.
    let mut child = cargo.stderr(Stdio::piped()).spawn().context("cannot start cargo")?;
    let stderr = child.stderr.take().context("cargo has no standard error")?;
    let mut figures = Vec::new();
    for line in BufReader::new(stderr).lines() {
        let line = line.context("the test printed something that is not UTF-8")?;
        figures.extend(figure(&line));
        eprintln!("{line}");
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("the proof {} failed ({status})", proof.name);
    }
    Ok(figures)
}

/// The figure that a line states: `figure NAME = VALUE`.
fn figure(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("figure ")?.split_once(" = ")?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> Option<(String, String)> {
        Some((name.to_owned(), value.to_owned()))
    }

    #[test]
    fn a_figure_is_a_line_of_its_form() {
        assert_eq!(figure("figure lives = 2000"), pair("lives", "2000"));
        assert_eq!(figure("figure units lost = 0"), pair("units lost", "0"));
        assert_eq!(figure("the figure below = none"), None);
        assert_eq!(figure("figure without a value"), None);
    }

    #[test]
    fn every_proof_has_a_name_of_its_own_and_guards_something() {
        for (at, proof) in PROOFS.iter().enumerate() {
            assert!(PROOFS[..at].iter().all(|other| other.name != proof.name), "{}", proof.name);
            assert!(!proof.guards.is_empty(), "{} guards no path", proof.name);
        }
    }

    #[test]
    fn every_guarded_path_exists() {
        let workspace = Workspace::locate().unwrap();
        for proof in PROOFS {
            for path in proof.guards {
                assert!(workspace.root.join(path).exists(), "{}: no {path}", proof.name);
            }
        }
    }
}
