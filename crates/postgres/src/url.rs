//! The database's URL and the TLS settings.
//!
//! TLS always verifies the server, against the system's roots or the certificates of
//! `sslrootcert=PATH`. `sslmode=disable` turns TLS off; `require` and above fail without TLS.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::error::OpenError;

/// The timeout of a connection attempt, including the login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// A connection is dead if its peer acknowledges nothing for this long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// A checked URL. It contains a password, so its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    config: Config,
    roots: Option<PathBuf>,
}

/// The future that drives a connection.
pub(crate) type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A text is not a URL of a PostgreSQL database. The message omits it, since it may contain a
/// password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PostgreSQL URL; `postgres://user:password@host/database` would be right")]
pub struct MalformedUrl;

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

impl DatabaseUrl {
    /// Reads `postgres://…`.
    ///
    /// # Errors
    /// [`MalformedUrl`].
    pub fn parse(text: &str) -> Result<Self, MalformedUrl> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(MalformedUrl);
        }
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let mut roots = None;
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslrootcert", path)) => roots = Some(PathBuf::from(path)),
                // The server is always verified fully, so these two mean the same as `require`.
                Some(("sslmode", "verify-ca" | "verify-full")) => kept.push("sslmode=require"),
                _ => kept.push(pair),
            }
        }
        let url = format!("{base}?{}", kept.join("&"));
        let mut config: Config = url.parse().map_err(|_| MalformedUrl)?;
        if config.get_hosts().is_empty() {
            return Err(MalformedUrl);
        }
        if config.get_application_name().is_none() {
            config.application_name("driftlock");
        }
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .tcp_user_timeout(UNACKNOWLEDGED);
        Ok(Self { config, roots })
    }

    /// A connection outside the pool.
    pub(crate) async fn connect(&self) -> Result<(Client, Driver), OpenError> {
        let connecting = self.config.connect(self.tls()?);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(OpenError::of),
            Err(_) => {
                let secs = CONNECT_TIMEOUT.as_secs();
                Err(OpenError::Away(format!("it did not answer within {secs} s")))
            }
        }
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn tls(&self) -> Result<MakeRustlsConnect, OpenError> {
        let mut store = RootCertStore::empty();
        match &self.roots {
            Some(path) => {
                let failed = |error: &dyn fmt::Display| {
                    OpenError::Tls(format!("sslrootcert {}: {error}", path.display()))
                };
                let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
                for certificate in found {
                    let certificate = certificate.map_err(|error| failed(&error))?;
                    store.add(certificate).map_err(|error| failed(&error))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                store.add_parsable_certificates(found.certs);
            }
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| OpenError::Tls(error.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_never_shown() {
        let url = "postgres://u:hunter2@db.example:5433/d?sslmode=verify-full&sslrootcert=/ca.pem";
        let found = DatabaseUrl::parse(url).expect("a URL");
        assert_eq!(found.roots, Some("/ca.pem".into()));
        assert_eq!(found.config.get_ssl_mode(), tokio_postgres::config::SslMode::Require);
        assert!(!format!("{found:?}").contains("hunter2"));
        for wrong in ["host=h password=hunter2", "postgres:///d", "postgres://u:hunter2@h:port/d"] {
            let error = DatabaseUrl::parse(wrong).expect_err("malformed");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
