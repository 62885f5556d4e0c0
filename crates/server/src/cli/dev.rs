//! `driftlock dev`: starts the gateway and the reference backend together, to try them out.
//!
//! A second start reuses the store, the token, the demo organization and its key. The key is shown
//! only at the first start.

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
    /// Address of the public listener, for clients
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Address of the reference backend
    #[arg(long, default_value = "127.0.0.1:8081")]
    backend_listen: SocketAddr,
    /// Address of the admin listener; default: 127.0.0.1:9090 if that is free
    #[arg(long)]
    admin_listen: Option<SocketAddr>,
    /// Folder of the data
    #[arg(long, default_value = ".driftlock")]
    data: PathBuf,
    /// Path of the configuration; default: the built-in defaults
    #[arg(long)]
    config: Option<PathBuf>,
}

impl Dev {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = store::configuration(self.config.as_deref())?;
        private::folder(&self.data)?;
        let token = token::load_or_create(&self.data)?;
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
        let mut greeted = Ok(());
        let greet = |addresses: host::Addresses| {
            greeted = greet(addresses.public, backend.address, &self.data, token);
        };
        let webhook_secrets = Some(token::webhook_secret(&self.data)?);
        let stripe = environment.stripe;
        let secrets = Secrets { admin_tokens: tokens, backend_headers, webhook_secrets, stripe };
        host::serve(&setup, store, None, secrets, greet, host::stop_signal())
            .context("choose another address with --listen")?;
        greeted
    }
}

fn greet(gateway: SocketAddr, backend: SocketAddr, data: &Path, token: &str) -> Result<()> {
    output::line(&format!("gateway            http://{gateway}"))?;
    output::line(&format!("reference backend  http://{backend}"))?;
    output::line(&format!("data               {}", data.display()))?;
    demo::greet(&format!("http://{gateway}"), data, token)
}

/// The reference backend, on a separate thread.
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
            .context("choose another address with --backend-listen")?;
        let address = bound.address()?;
        let (stop, stopped) = oneshot::channel();
        let wait = async {
            // A dropped sender is a stop, too.
            let _ = stopped.await;
        };
        let work = move || runtime.block_on(bound.serve(wait));
        let thread = std::thread::Builder::new().name("backend".into()).spawn(work)?;
        Ok(Self { address, stop, thread })
    }

    fn stop(self) -> Result<()> {
        // If the backend has ended already, joining its thread returns the error.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_panic| anyhow!("the reference backend failed"))??;
        Ok(())
    }
}
