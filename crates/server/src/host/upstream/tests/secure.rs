//! HTTPS: a trusted certificate, an untrusted one, and one with another name.

use std::io::Write;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

/// A backend with TLS and a certificate for this name. Returns its URL and the certificate's file.
async fn secure(name: &str) -> (String, tempfile::NamedTempFile) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = listener.local_addr().expect("bound").port();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let acceptor = acceptor.clone();
            tokio::task::spawn_local(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut buffer = [0; 4_096];
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    stream.write_all(OK.as_bytes()).await.expect("written");
                    stream.flush().await.expect("sent");
                }
            });
        }
    });
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(cert.pem().as_bytes()).expect("written");
    (format!("https://localhost:{port}"), file)
}

fn trusting(file: &tempfile::NamedTempFile) -> Config {
    let mut config = hasty();
    config.backend.ca_file = Some(file.path().to_str().expect("a path").to_owned());
    config
}

#[test]
fn a_trusted_backend_gets_requests() {
    on_core(async {
        let (url, certificate) = secure("localhost").await;
        let backend = at(&[url], &trusting(&certificate));
        for _ in 0..3 {
            assert_eq!(get(&backend).await, Ok((200, "ok".into())));
        }
        assert_eq!(backend.0.targets[0].pool.idle(), 1, "one connection carried all");
    });
}

#[test]
fn backends_with_other_certificates_get_no_requests() {
    on_core(async {
        let (url, _) = secure("localhost").await;
        let (_, others) = secure("localhost").await;
        let stranger = at(&[url], &trusting(&others));
        assert_eq!(get(&stranger).await, Err("backend-unreachable"));

        let (url, certificate) = secure("somebody.example").await;
        let misnamed = at(&[url], &trusting(&certificate));
        assert_eq!(get(&misnamed).await, Err("backend-unreachable"));
    });
}

#[test]
fn a_file_without_certificates_is_refused_by_name() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"no certificate\n").expect("written");
    let config = trusting(&file);
    let refused = Backends::new(&Urls(vec!["https://localhost".into()]), &config.backend, &[]);
    let said = refused.err().expect("no certificate in it").to_string();
    assert!(said.contains("backend.ca_file") && said.contains("no certificate"), "{said}");
}
