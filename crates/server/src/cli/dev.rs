//! `driftlock dev`: everything at once, to try it out.
//!
//! A second start finds what the first one made: the store, the token, the demo organization and
//! its key, which was shown once and is shown no more.

mod demo;
mod token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use driftlock_domain::config::{Config, Urls};
use driftlock_gateway::{AdminTokens, Secrets};
use tokio::sync::oneshot;

use super::serve::ADMIN;
use super::{output, private, store};
use crate::host::{self, AdminListen, Backends, NativeClock, Setup};

#[derive(Args)]
pub(super) struct Dev {
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Where the reference backend listens
    #[arg(long, default_value = "127.0.0.1:8081")]
    backend_listen: SocketAddr,
    /// Where operators connect; 127.0.0.1:9090 if it is free
    #[arg(long)]
    admin_listen: Option<SocketAddr>,
    /// Where the data goes
    #[arg(long, default_value = ".driftlock")]
    data: PathBuf,
    /// The configuration; the defaults unless given
    #[arg(long)]
    config: Option<PathBuf>,
}

impl Dev {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = store::configuration(self.config.as_deref())?;
        private::folder(&self.data)?;
        let token = token::load_or_make(&self.data)?;
        let tokens = AdminTokens::parse(&token).context("the token in the data folder")?;
        let store = store::open_file(&self.data.join("gateway.db"), &config, None)?;
        let backend = Backend::start(self.backend_listen, &self.data.join("anomalies.db"))?;
        let outcome = self.serve(config, &backend, &store, tokens, &token);
        backend.stop()?;
        outcome.map(|()| ExitCode::SUCCESS)
    }

    fn serve(
        &self,
        config: Config,
        backend: &Backend,
        store: &driftlock_sqlite::SqliteStore,
        tokens: AdminTokens,
        token: &str,
    ) -> Result<()> {
        let url = Urls(vec![format!("http://{}", backend.address)]);
        let backend_headers = config.backend.resolved_headers(|name| std::env::var(name).ok())?;
        let backends = Backends::new(&url, &config.backend, &backend_headers)?;
        let environment = store::environment()?;
        let fleet = store::fleet(environment.redis.as_ref(), &config)?;
        let setup = Setup {
            config,
            backends,
            listen: self.listen,
            admin: self.admin_listen.map_or(AdminListen::Default(ADMIN), AdminListen::At),
            clock: NativeClock::new(store.last_commit()),
            fleet,
            workers: None,
        };
        let mut told = Ok(());
        let greet = |addresses: host::Addresses| {
            told = greet(addresses.public, backend.address, &self.data, token);
        };
        let webhook_secrets = Some(token::webhook_secret(&self.data)?);
        let stripe = environment.stripe;
        let secrets = Secrets { admin_tokens: tokens, backend_headers, webhook_secrets, stripe };
        host::serve(&setup, store, None, secrets, greet, host::stop_signal())
            .context("--listen chooses another address")?;
        told
    }
}

fn greet(gateway: SocketAddr, backend: SocketAddr, data: &Path, token: &str) -> Result<()> {
    output::line(&format!("gateway            http://{gateway}"))?;
    output::line(&format!("reference backend  http://{backend}"))?;
    output::line(&format!("data               {}", data.display()))?;
    demo::greet(&format!("http://{gateway}"), data, token)
}

/// The reference backend on a thread of its own.
struct Backend {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Backend {
    fn start(address: SocketAddr, data: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bound = runtime
            .block_on(driftlock_detector::bind(address, data))
            .context("--backend-listen chooses another address")?;
        let address = bound.address()?;
        let (stop, stopped) = oneshot::channel();
        let wait = async {
            // It also ends when the sender is gone.
            let _ = stopped.await;
        };
        let work = move || runtime.block_on(bound.serve(wait));
        let thread = std::thread::Builder::new().name("backend".into()).spawn(work)?;
        Ok(Self { address, stop, thread })
    }

    fn stop(self) -> Result<()> {
        // If it has ended already, joining tells why.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_panic| anyhow!("the reference backend failed"))??;
        Ok(())
    }
}
