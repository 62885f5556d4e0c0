//! Where a project is, and the service's key to it.
//!
//! Two kinds of key exist: `sb_secret_…`, which goes into `apikey` alone, and the older
//! service-role JWT, which goes into `Authorization` as well.
//! <https://supabase.com/docs/guides/api/api-keys>

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Uri, header};
use serde::Deserialize;

const KEY_CHARS_MAX: usize = 4_096;
/// A secret key is refused with the user agent of a browser, so it is always ours.
const USER_AGENT: &str = concat!("driftlock/", env!("CARGO_PKG_VERSION"));

/// See the module.
#[derive(Clone)]
pub struct Access {
    base: String,
    headers: HeaderMap,
}

/// What is no way into a project. The message never repeats the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAccess {
    /// It is no URL of a project.
    #[error("no project URL; https://PROJECT.supabase.co would be right")]
    Url,
    /// It is a key that may be shown to anybody.
    #[error(
        "that key is for browsers; the service's begins with sb_secret_, or is the service_role JWT"
    )]
    Publishable,
    /// It is a JWT of another role.
    #[error("that JWT is not of the role service_role")]
    Role,
    /// It is no key.
    #[error("no key; it begins with sb_secret_, or is the service_role JWT")]
    Key,
}

#[derive(Deserialize)]
struct Claims {
    role: String,
}

impl Access {
    /// Reads a project's URL and the service's key.
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

    /// Reads a project's URL alone, so that a wrong one is named as such.
    ///
    /// # Errors
    /// [`MalformedAccess::Url`].
    pub fn check_url(url: &str) -> Result<(), MalformedAccess> {
        project(url).map(drop)
    }

    /// Where the REST API is.
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

/// The role that a JWT names; whether its signature is right, the project says.
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
    fn a_secret_key_is_no_bearer_token() {
        let access = Access::new(URL, "sb_secret_abc").expect("both are right");
        assert_eq!(access.base(), "https://a.supabase.co");
        assert_eq!(access.headers()["apikey"], "sb_secret_abc");
        assert!(!access.headers().contains_key("authorization"));
        assert!(!format!("{access:?}").contains("abc"), "I8");
    }

    #[test]
    fn a_service_role_jwt_is_both() {
        let key = jwt(r#"{"role":"service_role","iss":"supabase"}"#);
        let access = Access::new(URL, &key).expect("both are right");
        assert_eq!(access.headers()["apikey"], key.as_str());
        assert_eq!(access.headers()["authorization"], format!("Bearer {key}").as_str());
    }

    #[test]
    fn what_is_no_key_of_the_service_is_told_apart() {
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
