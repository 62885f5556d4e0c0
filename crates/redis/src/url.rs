//! The server's URL. It may contain a password, so only host and port are ever printed.

use std::fmt;

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionAddr, IntoConnectionInfo};

/// A valid URL of a Redis server.
#[derive(Clone)]
pub struct RedisUrl {
    client: Client,
}

/// A text that is not a URL of a Redis server. The error does not repeat the text, which may
/// contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a Redis URL; `redis://user:password@host:6379/0` would be right, or `rediss://…` for TLS"
)]
pub struct MalformedRedisUrl;

impl RedisUrl {
    /// Parses `redis://…`, or `rediss://…` for TLS that verifies the server against the system's
    /// root certificates; `valkey://` and `valkeys://` mean the same.
    ///
    /// # Errors
    /// [`MalformedRedisUrl`].
    pub fn parse(text: &str) -> Result<Self, MalformedRedisUrl> {
        let is_known = SCHEMES.iter().any(|scheme| text.starts_with(scheme));
        // A fragment would turn off the verification of certificates.
        if !is_known || text.contains('#') {
            return Err(MalformedRedisUrl);
        }
        let info = text.into_connection_info().map_err(|_| MalformedRedisUrl)?;
        let named =
            info.redis_settings().clone().set_lib_name("driftlock", env!("CARGO_PKG_VERSION"));
        // Without Nagle's algorithm, since a request waits for the answer to each small command.
        let info = info.set_redis_settings(named);
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(|_| MalformedRedisUrl)?;
        Ok(Self { client })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Host and port.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                write!(f, "{host}:{port}")
            }
            other => write!(f, "{other}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

const SCHEMES: [&str; 4] = ["redis://", "rediss://", "valkey://", "valkeys://"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_host_and_port_and_no_password() {
        for text in ["redis://:hunter2@h:1", "rediss://u:hunter2@h:1/3", "valkey://u:hunter2@h:1"] {
            let url = RedisUrl::parse(text).expect("well-formed");
            assert_eq!(url.to_string(), "h:1");
            assert!(!format!("{url:?}").contains("hunter2"));
        }
        assert_eq!(
            RedisUrl::parse("redis://h").map(|url| url.to_string()).ok().as_deref(),
            Some("h:6379")
        );
    }

    #[test]
    fn other_texts_are_refused() {
        let insecure = "rediss://h:1/#insecure";
        for text in ["", "h:6379", "http://h", "redis://", "redis://h/x", "unix:///s", insecure] {
            assert!(RedisUrl::parse(text).is_err(), "{text}");
        }
    }
}
