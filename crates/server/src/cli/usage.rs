//! `driftlock usage`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::api::Remote;
use super::{invoice, output};

#[derive(Args)]
pub(super) struct Usage {
    /// The organization's id, org_…
    organization: String,
    /// How usage is grouped
    #[arg(long, default_value = "day")]
    by: By,
    /// A time (RFC 3339) in the billing period to show; default: now
    #[arg(long)]
    at: Option<String>,
    /// Show the upcoming invoice of the current period
    #[arg(long, conflicts_with_all = ["by", "at"])]
    invoice: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    Hour,
    Day,
    Key,
    Route,
}

impl Usage {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Self { organization, by, at, invoice, remote } = self;
        if invoice {
            return invoice::show(&organization, &remote);
        }
        let (by, heading, member) = match by {
            By::Hour => ("hour", "hour", "start"),
            By::Day => ("day", "day", "start"),
            By::Key => ("key", "key", "key_id"),
            By::Route => ("route", "route", "route"),
        };
        let at = at.map_or_else(String::new, |at| format!("&at={}", at.replace('+', "%2B")));
        let path = format!("/organizations/{organization}/usage?group_by={by}{at}");
        let usage = remote.api()?.get(&path)?;
        if remote.json {
            output::json(&usage)?;
            return Ok(ExitCode::SUCCESS);
        }
        output::fields(
            &[
                ("period start", "period.start"),
                ("period end", "period.end"),
                ("units", "units"),
                ("included", "included"),
                ("overage units", "overage_units"),
            ],
            &usage,
        )?;
        let amount = usage["amount_micros"].as_u64().unwrap_or(0);
        output::line(&format!("amount         {}", output::dollars(amount)))?;
        let rows = usage["buckets"].as_array().map_or(&[][..], Vec::as_slice);
        let columns = [(heading, member), ("units", "units"), ("requests", "requests")];
        output::table(&columns, rows as &[Value])?;
        Ok(ExitCode::SUCCESS)
    }
}
