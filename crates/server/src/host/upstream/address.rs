//! A backend's base URL, parsed once: the address to connect to, the `Host` header, and the prefix
//! of every path.

use std::fmt;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use tokio_rustls::rustls::pki_types::ServerName;

/// A base URL such as `http://127.0.0.1:8081` or `https://backend.example/base`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BackendUrl {
    host: String,
    port: u16,
    /// The name that the certificate must contain; `None` without TLS.
    server_name: Option<ServerName<'static>>,
    authority: HeaderValue,
    /// The path prefix, without a slash at its end.
    prefix: String,
}

/// Why a URL cannot be a backend's. It never contains the URL, which may have credentials in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedBackendUrl {
    /// Not a URL at all.
    #[error("no URL; `http://127.0.0.1:8081` would be right")]
    NotUrl,
    /// It has a user name or a password.
    #[error("a backend URL has no user name or password in it; `http://HOST:PORT` is right")]
    Credentials,
    /// It has a query.
    #[error("a backend URL has no `?` in it; `http://HOST:PORT` is right")]
    Query,
}

impl BackendUrl {
    /// Reads a base URL.
    ///
    /// # Errors
    /// [`MalformedBackendUrl`], which does not repeat the text.
    pub(crate) fn parse(text: &str) -> Result<Self, MalformedBackendUrl> {
        let uri: Uri = text.parse().map_err(|_| MalformedBackendUrl::NotUrl)?;
        let (secure, usual_port) = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => (None, 80),
            Some(scheme) if *scheme == Scheme::HTTPS => (Some(()), 443),
            _ => return Err(MalformedBackendUrl::NotUrl),
        };
        let authority = uri.authority().ok_or(MalformedBackendUrl::NotUrl)?;
        if authority.as_str().contains('@') {
            return Err(MalformedBackendUrl::Credentials);
        }
        if uri.query().is_some() {
            return Err(MalformedBackendUrl::Query);
        }
        let named = authority.as_str().len() - authority.host().len();
        if authority.host().is_empty() || (named > 0 && authority.port_u16().is_none()) {
            return Err(MalformedBackendUrl::NotUrl);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let server_name = secure
            .map(|()| ServerName::try_from(host.clone()).map_err(|_| MalformedBackendUrl::NotUrl))
            .transpose()?;
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(usual_port),
            server_name,
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| MalformedBackendUrl::NotUrl)?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Host name or address, without brackets, and port.
    pub(super) fn endpoint(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The name that the server's certificate must contain; `None` without TLS.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        self.server_name.clone()
    }

    /// The value of `Host`.
    pub(super) fn authority(&self) -> HeaderValue {
        self.authority.clone()
    }

    /// The target of a request: the prefix, then its path and query. `None` if that is not a valid
    /// URI.
    pub(super) fn target(&self, uri: Uri) -> Option<Uri> {
        if self.prefix.is_empty() && uri.authority().is_none() && uri.scheme().is_none() {
            return Some(uri);
        }
        let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if self.prefix.is_empty() {
            return asked.parse().ok();
        }
        format!("{}{asked}", self.prefix).parse().ok()
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.server_name.is_some() { "https" } else { "http" };
        let authority = self.authority.to_str().unwrap_or_default();
        write!(f, "{scheme}://{authority}{}", self.prefix)
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> BackendUrl {
        BackendUrl::parse(text).expect("a backend's URL")
    }

    fn target(base: &str, asked: &str) -> String {
        parse(base).target(asked.parse().expect("a URI")).expect("a target").to_string()
    }

    #[test]
    fn urls_have_an_endpoint_and_an_authority() {
        assert_eq!(parse("http://127.0.0.1:8081").endpoint(), ("127.0.0.1", 8081));
        assert_eq!(parse("http://backend").endpoint(), ("backend", 80));
        assert_eq!(parse("http://[::1]:8081/").endpoint(), ("::1", 8081));
        assert_eq!(parse("http://[::1]:8081/").authority(), "[::1]:8081");
        let secure = parse("https://api.example/base");
        assert_eq!(secure.endpoint(), ("api.example", 443));
        assert_eq!(
            secure.server_name().map(|name| name.to_str().into_owned()).as_deref(),
            Some("api.example")
        );
        assert_eq!(secure.to_string(), "https://api.example/base");
    }

    #[test]
    fn urls_that_no_backend_has_are_refused() {
        let refused = |text| BackendUrl::parse(text).expect_err("no backend's URL");
        assert_eq!(refused("http://u:hunter2@backend"), MalformedBackendUrl::Credentials);
        assert_eq!(refused("http://backend/?a=b"), MalformedBackendUrl::Query);
        for text in ["", "backend:8081", "8081", "ftp://backend", "http://", "http://b:99999"] {
            assert_eq!(refused(text), MalformedBackendUrl::NotUrl, "{text}");
        }
    }

    #[test]
    fn a_prefix_goes_before_the_path() {
        assert_eq!(target("http://b:1", "/api/x?q=1"), "/api/x?q=1");
        assert_eq!(target("http://b:1/base/", "/api/x?q=1"), "/base/api/x?q=1");
        assert_eq!(target("http://b:1", "http://client.example/api/x?q=1"), "/api/x?q=1");
    }
}
