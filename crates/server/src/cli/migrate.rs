//! `driftlock migrate`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use driftlock_domain::config::Config;

use super::{output, store};

#[derive(Args)]
pub(super) struct Migrate {}

impl Migrate {
    pub(super) fn run(self) -> Result<ExitCode> {
        let environment = store::environment()?;
        let store = store::open(&environment, &Config::default())?;
        let (before, now) = store.migrated();
        output::line(&match before {
            before if before == now => format!("the schema is up to date (version {now})"),
            before => format!("the schema went from version {before} to {now}"),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
