//! `driftlock audit`.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;

use super::api::Remote;
use super::output;

#[derive(Subcommand)]
pub(super) enum Audit {
    /// List entries, oldest first
    List(List),
    /// Write all entries as NDJSON, and print the chain's head
    Export(Export),
    /// Verify the hash chain; fails if an entry was changed or is missing
    Verify(Verify),
}

#[derive(Args)]
pub(super) struct List {
    /// The organization's id, org_…
    organization: String,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct Export {
    /// The organization's id, org_…
    organization: String,
    /// File to write; default: standard output
    #[arg(long, short)]
    output: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(super) struct Verify {
    /// The organization's id, org_…
    organization: String,
    /// Head that an earlier export or verification printed: SEQ:HASH
    #[arg(long)]
    head: Option<String>,
    /// Shortest retention that was ever configured, if shorter than the current one
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<u32>,
    #[command(flatten)]
    remote: Remote,
}

/// Progress is shown after every so many entries.
const PROGRESS_EVERY: u64 = 10_000;

impl Audit {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Self::List(List { organization, remote }) => {
                let rows = remote.api()?.list(&format!("/organizations/{organization}/audit"))?;
                if remote.json {
                    output::json(&json!({ "data": rows, "next_cursor": null }))?;
                } else {
                    let names =
                        ["seq", "at", "actor", "action", "resource", "outcome", "ip", "details"];
                    output::table(&names.map(|name| (name, name)), &rows)?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Export(export) => export.run(),
            Self::Verify(Verify { organization, head, retention_days, remote }) => {
                let days = retention_days.map(|days| format!("retention_days={days}"));
                let query: Vec<String> =
                    head.map(|head| format!("head={head}")).into_iter().chain(days).collect();
                let query = query.join("&");
                let path = format!("/organizations/{organization}/audit/verify?{query}");
                let verdict =
                    remote.patient_api()?.patiently("verifying the log", |api| api.get(&path))?;
                if remote.json {
                    output::json(&verdict)?;
                } else {
                    let names = ["ok", "entries", "checkpoint", "head", "first_bad_seq", "problem"];
                    output::fields(&names.map(|name| (name, name)), &verdict)?;
                }
                Ok(if verdict["ok"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    }
}

impl Export {
    fn run(self) -> Result<ExitCode> {
        let path = format!("/organizations/{}/audit/export", self.organization);
        let response = self.remote.patient_api()?.open(&path)?;
        let head = response.headers().get("x-audit-head").and_then(|value| value.to_str().ok());
        let head = head.unwrap_or_default().to_owned();
        let mut out: Box<dyn Write> = match &self.output {
            None => Box::new(std::io::stdout().lock()),
            Some(file) => Box::new(std::io::BufWriter::new(
                std::fs::File::create(file)
                    .with_context(|| format!("cannot write {}", file.display()))?,
            )),
        };
        let is_terminal = std::io::stderr().is_terminal();
        let mut entries: u64 = 0;
        let mut reader = BufReader::new(response.into_body().into_reader());
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).context("the export was cut off")? > 0 {
            out.write_all(&line)?;
            line.clear();
            entries += 1;
            if is_terminal && entries.is_multiple_of(PROGRESS_EVERY) {
                eprint!("\r{entries} entries");
            }
        }
        out.flush()?;
        // The last line is not an entry: it contains the head.
        let entries = entries.saturating_sub(1);
        eprintln!("{}{entries} entries, head {head}", if is_terminal { "\r" } else { "" });
        Ok(ExitCode::SUCCESS)
    }
}
