//! `driftlock stripe clear-dispute`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::api::Remote;
use crate::cli::output;

#[derive(Args)]
pub(in crate::cli) struct ClearDispute {
    /// The organization's id, org_…
    organization: String,
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
    /// The dispute, dp_…; without it all open disputes
    #[arg(long)]
    dispute: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

impl ClearDispute {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Self { organization, reason, dispute, remote } = self;
        let path = format!("/organizations/{organization}/disputes/clear");
        let body = json!({ "reason": reason, "dispute": dispute });
        let answer = remote.api()?.post(&path, &body)?;
        if remote.json {
            output::json(&answer)?;
        } else {
            output::line(&sentence(&answer))?;
        }
        Ok(if answer["waiting"].is_null() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Which disputes of which organization were cleared, and why.
fn sentence(answer: &Value) -> String {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    let cleared: Vec<&str> =
        answer["cleared"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let whose = match answer["customer"].as_str() {
        Some(customer) => format!("{} (customer {customer})", text("organization")),
        None => text("organization").to_owned(),
    };
    if cleared.is_empty() {
        return format!("no dispute of {whose} is open");
    }
    let what = format!("{} of {whose}", cleared.join(", "));
    match answer["waiting"].as_str() {
        None => format!("cleared {what}: {}", text("reason")),
        Some(why) => format!("{what} cannot be cleared yet and will be retried: {why}"),
    }
}
