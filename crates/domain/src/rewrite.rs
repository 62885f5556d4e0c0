//! Rewrites a route's path to the backend's path: `/api/v1/anomalies/{id}` to `/v1/anomaly/{id}`.
//!
//! Segments are copied in normal form. Nothing is decoded or encoded, so that router and backend
//! see the same segments.

use std::borrow::Cow;

/// A parsed rewrite rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Text, with its slashes.
    Text(String),
    /// The segment with this number in the client's path.
    Segment(usize),
}

/// Why a text is not a rewrite rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// It is not a path.
    #[error("`{0}` is not a path; `/v1/detect` would be right")]
    NoPath(String),
    /// It names a segment that the route's path does not have.
    #[error("`{{{0}}}` is not a segment of the route's path")]
    Unknown(String),
}

impl Rewrite {
    /// Parses a backend's path with the segments of a route's template.
    ///
    /// # Errors
    /// [`RewriteError`].
    pub fn parse(text: &str, template: &str) -> Result<Self, RewriteError> {
        let inner = text.strip_prefix('/').ok_or_else(|| RewriteError::NoPath(text.to_owned()))?;
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut segments = inner.split('/').peekable();
        while let Some(segment) = segments.next() {
            literal.push('/');
            // As in a client's path, a trailing slash is allowed, an empty segment is not.
            if segment.is_empty() && segments.peek().is_some() {
                return Err(RewriteError::NoPath(text.to_owned()));
            }
            match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => {
                    let place = template.split('/').position(|known| known == segment);
                    let place = place.ok_or_else(|| RewriteError::Unknown(name.to_owned()))?;
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                    parts.push(Part::Segment(place));
                }
                None if segment.bytes().all(is_plain) && !matches!(segment, "." | "..") => {
                    literal.push_str(segment);
                }
                None => return Err(RewriteError::NoPath(text.to_owned())),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// The backend's path for a client's path that matched the route.
    #[must_use]
    pub fn apply<'a>(&'a self, path: &str) -> Cow<'a, str> {
        if let [Part::Text(text)] = &self.0[..] {
            return Cow::Borrowed(text);
        }
        let mut made = String::with_capacity(path.len() + 16);
        for part in &self.0 {
            made.push_str(match part {
                Part::Text(text) => text,
                Part::Segment(place) => path.split('/').nth(*place).unwrap_or_default(),
            });
        }
        Cow::Owned(made)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(to: &str, template: &str, path: &str) -> String {
        Rewrite::parse(to, template).expect("a rewriting").apply(path).into_owned()
    }

    #[test]
    fn paths_as_the_backend_knows_them() {
        assert_eq!(applied("/v1/detect", "/api/v1/anomalies/detect", "/x"), "/v1/detect");
        let template = "/api/v1/anomalies/{id}/resolve";
        let path = "/api/v1/anomalies/a%20b/resolve";
        assert_eq!(applied("/v1/anomaly/{id}", template, path), "/v1/anomaly/a%20b");
        assert_eq!(applied("/{id}/done", template, path), "/a%20b/done");
        assert_eq!(applied("/", template, path), "/");
        assert_eq!(applied("/{id}/", template, path), "/a%20b/");
    }

    #[test]
    fn what_is_none() {
        let template = "/api/v1/anomalies/{id}";
        for wrong in ["v1", "/a b", "/a/../b", "/a?b", "/{id}x", "/a//b", "//a"] {
            let error = Rewrite::parse(wrong, template).expect_err(wrong);
            assert_eq!(error, RewriteError::NoPath(wrong.to_owned()));
        }
        let unknown = Rewrite::parse("/a/{name}", template).expect_err("not in the template");
        assert_eq!(unknown, RewriteError::Unknown("name".to_owned()));
    }
}
