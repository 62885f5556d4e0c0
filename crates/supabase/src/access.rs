//! A Supabase project's URL, and the service's key to it.
//!
//! There are two kinds of key: `sb_secret_…`, which is sent in `apikey` only, and the older
//! service-role JWT, which is sent in `Authorization`, too.
//! <https://supabase.com/docs/guides/api/api-keys>

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Uri, header};
use serde::Deserialize;

const KEY_CHARS_MAX: usize = 4_096;
/// Supabase refuses a secret key with the user agent of a browser, so the gateway sends its own.
const USER_AGENT: &str = concat!("driftlock/", env!("CARGO_PKG_VERSION"));

/// A project's URL and the headers with the key.
#[derive(Clone)]
pub struct Access {
    base: String,
    headers: HeaderMap,
}

/// A wrong URL or key. The message never repeats the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAccess {
    /// Not the URL of a project.
    #[error("not a project URL; https://PROJECT.supabase.co would be right")]
    Url,
    /// A publishable key.
    #[error(
        "a publishable key, which is for browsers; use the secret key, which begins with \
         sb_secret_, or the service_role JWT"
    )]
    Publishable,
    /// A JWT of another role.
    #[error("a JWT of another role; its role has to be service_role")]
    Role,
    /// Not a key.
    #[error("not a key; use one that begins with sb_secret_, or the service_role JWT")]
    Key,
}

#[derive(Deserialize)]
struct Claims {
    role: String,
}

impl Access {
    /// Parses a project's URL and the service's key.
    ///
    /// # Errors
    /// [`MalformedAccess`] says what is wrong.
    pub fn new(url: &str, key: &str) -> Result<Self, MalformedAccess> {
        let base = project(url)?;
        let key = key.trim();
        let is_plain =
            key.len() <= KEY_CHARS_MAX && key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.starts_with("sb_publishable_") {
            return Err(MalformedAccess::Publishable);
        }
        if !is_plain || key.is_empty() {
            return Err(MalformedAccess::Key);
        }
        let mut headers = HeaderMap::new();
        headers.insert("apikey", secret(key)?);
        if !key.starts_with("sb_secret_") {
            match role(key).as_deref() {
                Some("service_role") => {}
                Some("anon" | "authenticated") => return Err(MalformedAccess::Publishable),
                Some(_) => return Err(MalformedAccess::Role),
                None => return Err(MalformedAccess::Key),
            }
            headers.insert(header::AUTHORIZATION, secret(&format!("Bearer {key}"))?);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        Ok(Self { base, headers })
    }

    /// Checks a project's URL without a key, so that an error concerns the URL.
    ///
    /// # Errors
    /// [`MalformedAccess::Url`].
    pub fn check_url(url: &str) -> Result<(), MalformedAccess> {
        project(url).map(drop)
    }

    /// The project's base URL.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("base", &self.base).finish_non_exhaustive()
    }
}

fn project(url: &str) -> Result<String, MalformedAccess> {
    let base = url.trim().trim_end_matches('/');
    let uri: Uri = base.parse().map_err(|_| MalformedAccess::Url)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    let is_bare = uri.query().is_none() && matches!(uri.path(), "" | "/");
    if is_http && is_bare { Ok(base.to_owned()) } else { Err(MalformedAccess::Url) }
}

fn secret(text: &str) -> Result<HeaderValue, MalformedAccess> {
    let mut value = HeaderValue::try_from(text).map_err(|_| MalformedAccess::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The role that a JWT names. The project, not the gateway, verifies the signature.
fn role(jwt: &str) -> Option<String> {
    let mut parts = jwt.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok().map(|claims| claims.role)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://a.supabase.co/";

    fn jwt(claims: &str) -> String {
        format!("eyJhbGciOiJIUzI1NiJ9.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_secret_key_is_not_sent_as_a_bearer_token() {
        let access = Access::new(URL, "sb_secret_abc").expect("both are right");
        assert_eq!(access.base(), "https://a.supabase.co");
        assert_eq!(access.headers()["apikey"], "sb_secret_abc");
        assert!(!access.headers().contains_key("authorization"));
        assert!(!format!("{access:?}").contains("abc"), "I8");
    }

    #[test]
    fn a_service_role_jwt_is_sent_in_both_headers() {
        let key = jwt(r#"{"role":"service_role","iss":"supabase"}"#);
        let access = Access::new(URL, &key).expect("both are right");
        assert_eq!(access.headers()["apikey"], key.as_str());
        assert_eq!(access.headers()["authorization"], format!("Bearer {key}").as_str());
    }

    #[test]
    fn each_wrong_key_has_its_error() {
        let refused = |key: &str| Access::new(URL, key).expect_err("it is refused");
        assert_eq!(refused("sb_publishable_abc"), MalformedAccess::Publishable);
        assert_eq!(refused(&jwt(r#"{"role":"anon"}"#)), MalformedAccess::Publishable);
        assert_eq!(refused(&jwt(r#"{"role":"dba"}"#)), MalformedAccess::Role);
        for wrong in ["", "abc", "a.b", "a.b.c.d", "sb_secret_a b"] {
            assert_eq!(refused(wrong), MalformedAccess::Key, "{wrong}");
        }
        for wrong in ["", "a.supabase.co", "ftp://a", "https://a/rest/v1", "https://a?b=c"] {
            assert_eq!(Access::check_url(wrong), Err(MalformedAccess::Url), "{wrong}");
        }
    }
}
