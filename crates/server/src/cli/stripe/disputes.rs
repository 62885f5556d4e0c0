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
    /// Which dispute, dp_…; without it all that are open
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
        let told = remote.api()?.post(&path, &body)?;
        if remote.json {
            output::json(&told)?;
        } else {
            output::line(&sentence(&told))?;
        }
        Ok(if told["waiting"].is_null() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Whose flag was cleared, and why.
fn sentence(told: &Value) -> String {
    let text = |name: &str| told[name].as_str().unwrap_or_default();
    let cleared: Vec<&str> =
        told["cleared"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let whose = match told["customer"].as_str() {
        Some(customer) => format!("{} (customer {customer})", text("organization")),
        None => text("organization").to_owned(),
    };
    if cleared.is_empty() {
        return format!("no dispute of {whose} is open");
    }
    let what = format!("{} of {whose}", cleared.join(", "));
    match told["waiting"].as_str() {
        None => format!("cleared {what}: {}", text("reason")),
        Some(why) => format!("{what} will be cleared once this is over: {why}"),
    }
}
