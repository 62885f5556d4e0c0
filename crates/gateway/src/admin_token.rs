//! The bearer tokens of the admin API. There can be several, so that they can be rotated. They are
//! compared in constant time.

use std::fmt;

use driftlock_domain::key::bearer;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The minimum length of a token.
const TOKEN_CHARS_MIN: usize = 32;

/// Digests of the valid tokens. With an empty list every request is refused.
#[derive(Clone, Default)]
pub struct AdminTokens(Vec<[u8; 32]>);

/// Why a list of tokens is not valid. The text never contains a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAdminToken {
    /// A token is too short.
    #[error("token {0} of the list has fewer than 32 characters; `openssl rand -hex 32` makes one")]
    TooShort(usize),
    /// A token has characters that a header cannot carry.
    #[error("token {0} of the list has characters other than visible ASCII")]
    Characters(usize),
}

impl AdminTokens {
    /// Reads a comma-separated list of tokens.
    ///
    /// # Errors
    /// [`MalformedAdminToken`] with the number of the invalid token, counted from 1.
    pub fn parse(list: &str) -> Result<Self, MalformedAdminToken> {
        let digest = |(index, token): (usize, &str)| {
            let token = token.trim();
            if token.len() < TOKEN_CHARS_MIN {
                return Err(MalformedAdminToken::TooShort(index + 1));
            }
            if !token.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(MalformedAdminToken::Characters(index + 1));
            }
            Ok(Sha256::digest(token.as_bytes()).into())
        };
        list.split(',').enumerate().map(digest).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are no tokens: then there is no admin API.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request has a valid token. It is compared with all tokens, also after a match.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let Ok(presented) = bearer(headers) else { return false };
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let fits = self.0.iter().map(|token| token.ct_eq(&presented));
        fits.fold(subtle::Choice::from(0), |any, one| any | one).into()
    }
}

impl fmt::Debug for AdminTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminTokens({} of them)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn with(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
        headers.insert("authorization", value);
        headers
    }

    #[test]
    fn any_of_several_tokens_passes() {
        let (old, new) = ("a".repeat(32), "b".repeat(40));
        let tokens = AdminTokens::parse(&format!("{old}, {new}")).expect("valid");
        assert!(tokens.admit(&with(&old)) && tokens.admit(&with(&new)));
        assert!(!tokens.admit(&with(&"c".repeat(32))));
        assert!(!tokens.admit(&HeaderMap::new()));
        assert!(!AdminTokens::default().admit(&with(&old)));
        assert!(!format!("{tokens:?}").contains(&old));
    }

    #[test]
    fn weak_tokens_are_refused() {
        let list = format!("{},short", "a".repeat(32));
        assert_eq!(AdminTokens::parse(&list).unwrap_err(), MalformedAdminToken::TooShort(2));
        let odd = format!("{} b", "a".repeat(32));
        assert_eq!(AdminTokens::parse(&odd).unwrap_err(), MalformedAdminToken::Characters(1));
    }
}
