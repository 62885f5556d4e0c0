//! `driftlock serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use driftlock_domain::config::OnOutage;
use driftlock_gateway::Secrets;

use super::examine::{Examined, examine};
use super::store::Store;
use super::{output, store};
use crate::host::{self, AdminListen, Journal, NativeClock, NativeStore, Setup, SharedStore};

#[derive(Args)]
pub(super) struct Serve {
    /// Path of the configuration; default: ENV_CONFIG, then ./gateway.toml
    #[arg(long)]
    config: Option<PathBuf>,
    /// Address of the public listener, for clients
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Address of the admin listener; default: 127.0.0.1:9090 if that is free
    #[arg(long)]
    admin_listen: Option<SocketAddr>,
    /// Number of cores to use; default: all
    #[arg(long)]
    workers: Option<NonZeroUsize>,
    /// Serve an embedded database with missing commits: the number that the refused start printed
    #[arg(long, value_name = "NUMBER")]
    accept_missing_commits: Option<u64>,
}

/// The admin listener's default address.
pub(super) const ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

impl Serve {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Examined { config, backends, store, secrets, fleet, warnings, .. } =
            examine(self.config, self.accept_missing_commits)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if secrets.admin_tokens.is_empty() {
            tracing::warn!("no ENV_ADMIN_TOKEN: there is no admin API");
        }
        let store = store::open(&store, &config, self.accept_missing_commits)?;
        let setup = Setup {
            config,
            backends,
            listen: self.listen,
            admin: self.admin_listen.map_or(AdminListen::Default(ADMIN), AdminListen::At),
            clock: NativeClock::new(store.last_commit()),
            fleet,
            workers: self.workers,
        };
        match &store {
            Store::Embedded(store) => serve(&setup, store, None, secrets),
            Store::Fleet(store) => serve(&setup, store, journal(&setup, store)?, secrets),
            Store::Project(store) => serve(&setup, store, journal(&setup, store)?, secrets),
        }
    }
}

/// The journal for outages of a shared store, if the configuration asks for one.
fn journal(setup: &Setup, store: &impl SharedStore) -> Result<Option<Journal>> {
    let metering = &setup.config.metering;
    let start = || Journal::start(metering, store.clone(), setup.clock.clone());
    Ok((metering.on_outage == OnOutage::Journal).then(start).transpose()?)
}

fn serve(
    setup: &Setup,
    store: &impl NativeStore,
    journal: Option<Journal>,
    secrets: Secrets,
) -> Result<ExitCode> {
    let mut printed = Ok(());
    let ready = |addresses: host::Addresses| {
        printed = output::line(&format!("gateway listens on http://{}", addresses.public));
        if let Some(admin) = addresses.admin {
            tracing::info!(%admin, "admin listener");
        }
    };
    host::serve(setup, store, journal, secrets, ready, host::stop_signal())?;
    printed?;
    Ok(ExitCode::SUCCESS)
}
