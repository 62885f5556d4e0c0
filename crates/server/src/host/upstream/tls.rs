//! The CA certificates for HTTPS backends: those of a file, or the system's.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Why there are no CA certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The file cannot be read as PEM.
    #[error("backend.ca_file: cannot read certificates from {0}: {1}")]
    File(String, String),
    /// The file contains no certificate.
    #[error("backend.ca_file: there is no certificate in {0}; use a PEM file")]
    Empty(String),
    /// The system has no CA certificates.
    #[error(
        "the system has no trusted certificates for HTTPS backends; install ca-certificates, or \
         set backend.ca_file"
    )]
    NoSystemRoots,
}

/// The connector for HTTPS connections.
///
/// # Errors
/// [`TrustError`].
pub(super) fn connector(ca_file: Option<&str>) -> Result<TlsConnector, TrustError> {
    let roots = match ca_file {
        Some(file) => of_file(file)?,
        None => of_system()?,
    };
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn of_file(file: &str) -> Result<RootCertStore, TrustError> {
    let failed = |error: &dyn std::fmt::Display| TrustError::File(file.into(), error.to_string());
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(Path::new(file)).map_err(|e| failed(&e))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() { Err(TrustError::Empty(file.to_owned())) } else { Ok(roots) }
}

fn of_system() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _unusable) = roots.add_parsable_certificates(found.certs);
    if added == 0 { Err(TrustError::NoSystemRoots) } else { Ok(roots) }
}
