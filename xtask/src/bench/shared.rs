//! What a fleet's limits cost: the same gateway with Redis and without, in one run.
//!
//! CPU time under load of 64 connections, and what a lone client waits, at the median and the 99th
//! percentile. Redis has the load generator's core, so that its own work is not the gateway's.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::stand::Stand;
use super::subject::{Sample, Waits};
use super::{Extent, Folder, Form, gateway, median};
use crate::system;
use crate::workspace::Workspace;

/// Measures and prints both.
///
/// # Errors
/// If a program is missing, a server does not start, or an answer is not a success.
pub(crate) fn run(workspace: &Workspace, extent: Extent, form: Form) -> Result<()> {
    system::programs(workspace, &[("redis-server", "redis-server")])?;
    let program = gateway(workspace)?;
    let folder = Folder::make(workspace)?;
    let stand = Stand::start_shared(&program, &folder.0)?;
    let subjects = stand.shared_subjects(&folder.0)?;
    let mut taken = vec![(Vec::new(), Vec::new()); subjects.len()];
    for _ in 0..extent.rounds.max(1) {
        for (subject, (samples, waits)) in subjects.iter().zip(&mut taken) {
            samples.push(subject.load(extent.seconds.max(1))?);
            waits.push(subject.waits(extent.seconds.max(1))?);
        }
    }
    let rows = subjects.iter().zip(taken).map(|(subject, (samples, waits))| Row {
        name: subject.name,
        load: median(samples),
        waits: middle(waits),
    });
    let rows: Vec<Row> = rows.collect();
    match form {
        Form::Table => rows.iter().for_each(Row::print),
        Form::Json => println!("{}", Value::from_iter(rows.iter().map(Row::json))),
    }
    asked(&stand)
}

struct Row {
    name: &'static str,
    load: Sample,
    waits: Waits,
}

impl Row {
    fn print(&self) {
        let Self { name, load, waits } = self;
        println!(
            "{name:<28} {:>7.2} µs/request  {:>8.0} requests/s  p50 {:>6.0} µs  p99 {:>6.0} µs",
            load.cpu_micros, load.requests_per_second, waits.p50_micros, waits.p99_micros
        );
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "cpu_micros": self.load.cpu_micros,
            "requests_per_second": self.load.requests_per_second,
            "p50_micros": self.waits.p50_micros,
            "p99_micros": self.waits.p99_micros,
        })
    }
}

/// The median of each by itself.
fn middle(waits: Vec<Waits>) -> Waits {
    let of = |which: fn(&Waits) -> f64| {
        let mut values: Vec<f64> = waits.iter().map(which).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Waits { p50_micros: of(|waits| waits.p50_micros), p99_micros: of(|waits| waits.p99_micros) }
}

/// A gateway that fell back would measure nothing.
fn asked(stand: &Stand) -> Result<()> {
    let mut cli = Command::new("redis-cli");
    cli.args(["-p", &stand.redis_port().to_string(), "info", "commandstats"]);
    let said = crate::workspace::output(&mut cli)?;
    let line = said.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
    println!("Redis: {}", line.context("Redis was not asked")?);
    Ok(())
}
