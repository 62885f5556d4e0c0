//! `driftlock stripe events` and `replay`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use driftlock_domain::stripe::delivery::DeliveryState;
use serde_json::json;

use crate::cli::api::Remote;
use crate::cli::output;

#[derive(Args)]
pub(in crate::cli) struct Events {
    /// Only those in this state: pending, done, ignored or dead
    #[arg(long)]
    state: Option<DeliveryState>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub(in crate::cli) struct Replay {
    /// The event's id, evt_…
    event: String,
    #[command(flatten)]
    remote: Remote,
}

const COLUMNS: [&str; 7] = ["id", "type", "customer", "state", "attempts", "received_at", "error"];

impl Events {
    pub(super) fn run(self) -> Result<ExitCode> {
        let state = self.state.map(|state| format!("&state={}", state.as_str()));
        let rows = self.remote.api()?.list_where("/stripe/events", &state.unwrap_or_default())?;
        if self.remote.json {
            output::json(&json!({ "data": rows, "next_cursor": null }))?;
        } else {
            output::table(&COLUMNS.map(|name| (name, name)), &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Replay {
    pub(super) fn run(self) -> Result<ExitCode> {
        let path = format!("/stripe/events/{}/replay", self.event);
        let entry = self.remote.api()?.post(&path, &json!({}))?;
        if self.remote.json {
            output::json(&entry)?;
        } else {
            output::fields(&COLUMNS.map(|name| (name, name)), &entry)?;
        }
        Ok(if entry["state"] == "done" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
