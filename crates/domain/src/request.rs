//! A request's path in the one form that router and backend both see.
//!
//! What two parsers could read differently is refused rather than repaired: dot segments, empty
//! segments, backslashes, path parameters, encoded slashes and control characters. What remains is
//! normalised once (RFC 3986, section 6.2.2): needless percent-encoding is undone, the rest is in
//! capitals, and that text is what is matched and what is forwarded.

use std::borrow::Cow;

/// Why a path cannot be routed safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MalformedPath {
    /// It does not start with a slash.
    #[error("the path does not start with /")]
    NotAbsolute,
    /// `.` or `..`, plain or encoded.
    #[error("the path has a segment . or ..")]
    DotSegment,
    /// Two slashes in a row.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// A character that parsers disagree about: `\`, `;`, a control or a non-ASCII character.
    #[error("the path has a character that is not allowed there unencoded")]
    Character,
    /// A percent sign without two hex digits, or bytes that are no UTF-8.
    #[error("the path's percent-encoding is broken")]
    Encoding,
    /// An encoded slash, backslash, semicolon, percent sign or control character.
    #[error("the path encodes a character that parsers disagree about")]
    EncodedDelimiter,
}

/// Bytes that all parsers read alike in a path.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        plain[byte as usize] = !matches!(
            byte,
            b'\\' | b';' | b'?' | b'#' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}'
        );
        byte += 1;
    }
    plain
};

/// The path in its one form; borrowed when it was in it already.
///
/// # Errors
/// [`MalformedPath`] says why it is refused.
pub fn normalize_path(path: &str) -> Result<Cow<'_, str>, MalformedPath> {
    if !path.starts_with('/') {
        return Err(MalformedPath::NotAbsolute);
    }
    if !path.bytes().all(|b| PLAIN[usize::from(b)]) {
        return Err(MalformedPath::Character);
    }
    let normal =
        if path.contains('%') { Cow::Owned(undo_encoding(path)?) } else { Cow::Borrowed(path) };
    check_segments(&normal)?;
    Ok(normal)
}

fn check_segments(path: &str) -> Result<(), MalformedPath> {
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(MalformedPath::DotSegment),
            // A slash at the very end is a path of its own, not an empty segment between two.
            "" if segments.peek().is_some() => return Err(MalformedPath::EmptySegment),
            _ => {}
        }
    }
    Ok(())
}

fn undo_encoding(path: &str) -> Result<String, MalformedPath> {
    percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| MalformedPath::Encoding)?;
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((plain, encoded)) = rest.split_once('%') {
        normal.push_str(plain);
        let (digits, after) = encoded.split_at_checked(2).ok_or(MalformedPath::Encoding)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(MalformedPath::Encoding);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| MalformedPath::Encoding)?;
        match byte {
            b'/' | b'\\' | b';' | b'%' | 0..=0x1f | 0x7f => {
                return Err(MalformedPath::EncodedDelimiter);
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                normal.push(char::from(byte));
            }
            _ => {
                normal.push('%');
                normal.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = after;
    }
    normal.push_str(rest);
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_form() {
        for (path, wanted) in [
            ("/api/v1/anomalies", "/api/v1/anomalies"),
            ("/api/v1/anomalies/", "/api/v1/anomalies/"),
            ("/api/v1/%61nomalies", "/api/v1/anomalies"),
            ("/api/v1/anomalies/a%20b", "/api/v1/anomalies/a%20b"),
            ("/api/v1/anomalies/%c3%a9", "/api/v1/anomalies/%C3%A9"),
            ("/", "/"),
        ] {
            assert_eq!(normalize_path(path).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn what_parsers_disagree_about_is_refused() {
        use MalformedPath::{
            Character, DotSegment, EmptySegment, EncodedDelimiter, Encoding, NotAbsolute,
        };
        for (path, wanted) in [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("/api/../admin", DotSegment),
            ("/api/%2e%2E/admin", DotSegment),
            ("/api/.%2e", DotSegment),
            ("//api", EmptySegment),
            ("/api//v1", EmptySegment),
            ("/api/v1;x=1", Character),
            ("/api\\v1", Character),
            ("/api/é", Character),
            ("/api/%00", EncodedDelimiter),
            ("/api%2fv1", EncodedDelimiter),
            ("/api%5Cv1", EncodedDelimiter),
            ("/api/%252e", EncodedDelimiter),
            ("/api/%", Encoding),
            ("/api/%4", Encoding),
            ("/api/%zz", Encoding),
            ("/api/%+1", Encoding),
            ("/api/%ff", Encoding),
        ] {
            assert_eq!(normalize_path(path), Err(wanted), "{path}");
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(path in "/[ -~]{0,40}") {
            if let Ok(once) = normalize_path(&path) {
                let twice = normalize_path(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
            }
        }
    }
}
