//! `driftlock detector`: only the reference backend.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::output;
use crate::host;

#[derive(Args)]
pub(super) struct Detector {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// SQLite file for the anomalies
    #[arg(long, default_value = "anomalies.db")]
    data: PathBuf,
}

impl Detector {
    pub(super) fn run(self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let bound = driftlock_detector::bind(self.listen, &self.data).await?;
            output::line(&format!("reference backend listens on http://{}", bound.address()?))?;
            bound.serve(host::stop_signal()).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
