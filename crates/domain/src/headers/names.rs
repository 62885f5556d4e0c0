//! Sets of header names, as `gateway.toml` lists them.
//!
//! Backends accept several spellings of a header name: CGI, WSGI and PHP turn `X-User`, `X_User`
//! and
//! `X.User` into the same variable. So names are compared in one spelling: lower case, with `-`
//! instead of every character that is neither a letter nor a digit.

use std::borrow::Cow;

/// The spelling in which header names are compared. A header map's names are in lower case.
pub(crate) fn canonical(name: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let one =
        |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '-' };
    Cow::Owned(name.chars().map(one).collect())
}

/// A set of header names and of beginnings of names (`x-forwarded-*`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderNames {
    /// Sorted.
    exact: Vec<Box<str>>,
    prefixes: Vec<Box<str>>,
}

impl HeaderNames {
    /// The set of these patterns; each is a name, or the beginning of names followed by `*`.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Self {
        let mut names = Self::default();
        for pattern in patterns {
            match pattern.as_ref().strip_suffix('*') {
                Some(start) => names.prefixes.push(canonical(start).into()),
                None => names.exact.push(canonical(pattern.as_ref()).into()),
            }
        }
        names.exact.sort_unstable();
        names
    }

    /// Whether a name is one of them, in any spelling.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.contains_canonical(&canonical(name))
    }

    pub(crate) fn contains_canonical(&self, name: &str) -> bool {
        self.exact.binary_search_by(|known| (**known).cmp(name)).is_ok()
            || self.prefixes.iter().any(|start| name.starts_with(&**start))
    }
}

/// Whether a text is a header name, or the beginning of names followed by `*`. A `*` alone is not.
#[must_use]
pub fn is_name_pattern(text: &str) -> bool {
    http::HeaderName::try_from(text.strip_suffix('*').unwrap_or(text)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_every_spelling() {
        let names = HeaderNames::new(["X-User", "forwarded", "X-Forwarded-*"]);
        for inside in
            ["x-user", "x_user", "x.user", "X-USER", "x!user", "x-forwarded-", "forwarded"]
        {
            assert!(names.contains(inside), "{inside}");
        }
        assert!(names.contains("x_forwarded.port"));
        for outside in ["x-user-id", "xuser", "x-forwarded", "forwarded-for", ""] {
            assert!(!names.contains(outside), "{outside}");
        }
    }

    #[test]
    fn what_is_a_pattern() {
        for right in ["forwarded", "X-Forwarded-*", "cf-*"] {
            assert!(is_name_pattern(right), "{right}");
        }
        for wrong in ["", "*", "a b", "a:*", "é"] {
            assert!(!is_name_pattern(wrong), "{wrong}");
        }
    }
}
