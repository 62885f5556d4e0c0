//! `driftlock receipt`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::api::Remote;
use super::output;

#[derive(Args)]
pub(super) struct Receipt {
    /// Value of X-Usage-Receipt, use_…
    id: String,
    #[command(flatten)]
    remote: Remote,
}

impl Receipt {
    pub(super) fn run(self) -> Result<ExitCode> {
        let receipt = self.remote.api()?.get(&format!("/receipts/{}", self.id))?;
        if self.remote.json {
            output::json(&receipt)?;
        } else {
            let names = ["id", "organization_id", "key_id", "route", "units", "request_id", "at"];
            output::fields(&names.map(|name| (name, name)), &receipt)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
