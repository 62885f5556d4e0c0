//! `driftlock alerts`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::api::Remote;
use super::output;

#[derive(Args)]
pub(super) struct Alerts {
    /// The organization's id, org_…
    organization: String,
    /// How many alerts to show, newest first
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    remote: Remote,
}

impl Alerts {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Self { organization, limit, remote } = self;
        let path = format!("/organizations/{organization}/alerts?limit={limit}");
        let found = remote.api()?.get(&path)?;
        if remote.json {
            output::json(&found)?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows: &[Value] = found["data"].as_array().map_or(&[], Vec::as_slice);
        output::table(&[("at", "at"), ("alert", "kind"), ("about", "subject")], rows)?;
        Ok(ExitCode::SUCCESS)
    }
}
