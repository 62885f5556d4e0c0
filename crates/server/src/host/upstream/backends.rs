//! The backends of a process: what its cores share of them.

use std::sync::Arc;

use driftlock_domain::config::{self, Config, Urls};
use http::{HeaderName, HeaderValue};
use tokio_rustls::TlsConnector;

use super::address::{BackendUrl, MalformedBackendUrl};
use super::health::Health;
use super::target::Target;
use super::tls::{self, TrustError};

/// See the module; clones are the same ones.
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
    /// A URL is none.
    #[error(transparent)]
    Url(#[from] MalformedBackendUrl),
    /// No HTTPS backend can be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Backends {
    /// The backends of these URLs, of which there is at least one. Health checks have these headers.
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

    /// What every request to a backend carries, ours included.
    pub(super) fn headers(&self) -> Arc<[(HeaderName, HeaderValue)]> {
        Arc::clone(&self.headers)
    }

    /// A core's own targets.
    pub(super) fn targets(&self, config: &Config) -> Vec<Target> {
        let all = self.urls.iter().zip(self.health.iter());
        all.map(|(url, health)| {
            Target::new(url.clone(), self.tls.clone(), Arc::clone(health), config)
        })
        .collect()
    }
}
