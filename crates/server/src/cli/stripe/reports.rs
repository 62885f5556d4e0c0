//! `driftlock stripe reports` and `retry`: usage reports to Stripe, and retries of refused ones.

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgGroup, Args};
use driftlock_domain::stripe::meter::ReportState;
use serde_json::{Value, json};

use crate::cli::api::{Api, Remote};
use crate::cli::output;

#[derive(Args)]
pub(in crate::cli) struct Reports {
    /// Only those in this state: pending, reconcile, done or dead
    #[arg(long)]
    state: Option<ReportState>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
#[command(group(ArgGroup::new("which").required(true).args(["report", "all"])))]
pub(in crate::cli) struct Retry {
    /// The report's id, dl-…
    report: Option<String>,
    /// Every dead report
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    remote: Remote,
}

const COLUMNS: [&str; 7] = ["id", "organization_id", "at", "value", "state", "attempts", "error"];

impl Reports {
    pub(super) fn run(self) -> Result<ExitCode> {
        show(&self.remote, listed(&self.remote.api()?, self.state)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Retry {
    /// Fails if one of the reports is dead again.
    pub(super) fn run(self) -> Result<ExitCode> {
        let api = self.remote.api()?;
        let ids: Vec<String> = match self.report {
            Some(id) => vec![id],
            None => listed(&api, Some(ReportState::Dead))?
                .iter()
                .filter_map(|report| report["id"].as_str().map(str::to_owned))
                .collect(),
        };
        let retry = |id: &String| api.post(&format!("/stripe/reports/{id}/retry"), &json!({}));
        let rows: Vec<Value> = ids.iter().map(retry).collect::<Result<_>>()?;
        let failed = rows.iter().any(|report| report["state"] == "dead");
        show(&self.remote, rows)?;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn listed(api: &Api, state: Option<ReportState>) -> Result<Vec<Value>> {
    let query = state.map_or_else(String::new, |state| format!("&state={}", state.as_str()));
    api.list_where("/stripe/reports", &query)
}

fn show(remote: &Remote, rows: Vec<Value>) -> Result<()> {
    if remote.json {
        return output::json(&json!({ "data": rows, "next_cursor": null }));
    }
    output::table(&COLUMNS.map(|name| (name, name)), &rows)
}
