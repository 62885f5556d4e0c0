//! The backends of a process: addresses, health and TLS settings, which all cores share.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use driftlock_domain::config::{self, Config, Urls};
use http::{HeaderName, HeaderValue};
use tokio_rustls::TlsConnector;

use super::address::{BackendUrl, MalformedBackendUrl};
use super::health::Health;
use super::target::Target;
use super::tls::{self, TrustError};

/// The backends. Clones share their state.
#[derive(Clone)]
pub(crate) struct Backends {
    urls: Arc<[BackendUrl]>,
    health: Arc<[Arc<Health>]>,
    tls: Option<TlsConnector>,
    headers: Arc<[(HeaderName, HeaderValue)]>,
}

/// Why there are no backends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendsError {
    /// A URL is malformed.
    #[error(transparent)]
    Url(#[from] MalformedBackendUrl),
    /// There are no certificates to verify HTTPS backends.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Backends {
    /// The backends with these URLs (at least one). Health checks send these headers.
    ///
    /// # Errors
    /// [`BackendsError`].
    pub(crate) fn new(
        urls: &Urls,
        config: &config::Backend,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, BackendsError> {
        let urls = urls.0.iter().map(|url| BackendUrl::parse(url));
        let urls = urls.collect::<Result<Arc<[_]>, _>>()?;
        let secure = urls.iter().any(|url| url.server_name().is_some());
        let tls = secure.then(|| tls::connector(config.ca_file.as_deref())).transpose()?;
        let health = urls.iter().map(|_| Arc::new(Health::new(config))).collect();
        Ok(Self { urls, health, tls, headers: headers.into() })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.urls.len()
    }

    /// Tries to connect to each backend, each within the configured time. Returns the URLs and the
    /// results. Blocks.
    pub(crate) fn connect(&self, timeouts: &config::Timeouts) -> Vec<(String, io::Result<()>)> {
        let within = Duration::from_millis(timeouts.backend_connect_ms);
        let try_one = |url: &BackendUrl| -> io::Result<()> {
            let mut failed = io::Error::from(io::ErrorKind::NotFound);
            for address in url.endpoint().to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, within) {
                    Ok(_) => return Ok(()),
                    Err(error) => failed = error,
                }
            }
            Err(failed)
        };
        self.urls.iter().map(|url| (url.to_string(), try_one(url))).collect()
    }

    /// The headers of every request to a backend, including health checks.
    pub(super) fn headers(&self) -> Arc<[(HeaderName, HeaderValue)]> {
        Arc::clone(&self.headers)
    }

    /// Targets for one core.
    pub(super) fn targets(&self, config: &Config) -> Vec<Target> {
        let all = self.urls.iter().zip(self.health.iter());
        all.map(|(url, health)| {
            Target::new(url.clone(), self.tls.clone(), Arc::clone(health), config)
        })
        .collect()
    }
}
