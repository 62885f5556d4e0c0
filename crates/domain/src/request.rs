//! A request's path in the one normal form that both router and backend see.
//!
//! Paths that two parsers could read differently are refused, not repaired: dot segments, empty
//! segments, backslashes, path parameters, encoded slashes and control characters. Other paths are
//! normalised once. A character that a path segment may contain unencoded (RFC 3986, section 3.3)
//! is not encoded: `%41` becomes `A`, and `%3A` becomes `:`. All other characters are encoded, in
//! upper case. The normal form is matched and forwarded, so that two spellings of a path never lead
//! to two routes.
//!
//! A plus sign is always encoded: some backends read an unencoded one as a space, and all of them
//! read `%2B` as a plus sign.

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
    /// A percent sign without two hex digits, or bytes that are not UTF-8.
    #[error("the path's percent-encoding is broken")]
    Encoding,
    /// An encoded slash, backslash, semicolon, percent sign or control character.
    #[error("the path encodes a character that parsers disagree about")]
    EncodedDelimiter,
}

/// How a byte is written in a normal path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Unencoded.
    Plain,
    /// Percent-encoded; a request may have it unencoded, too.
    Encoded,
    /// Percent-encoded; an unencoded one is refused.
    EncodedOnly,
    /// Not at all: parsers disagree about it, encoded or not.
    Refused,
}

const FORMS: [Form; 256] = {
    let mut forms = [Form::EncodedOnly; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        forms[byte as usize] = match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('..=b'*'
            | b','
            | b'='
            | b':'
            | b'@' => Form::Plain,
            b'+' | b'[' | b']' => Form::Encoded,
            b'/' | b'\\' | b';' | b'%' | 0..=0x1f | 0x7f => Form::Refused,
            _ => Form::EncodedOnly,
        };
        byte += 1;
    }
    forms
};

/// The path in normal form; borrowed when it is normal already.
///
/// # Errors
/// [`MalformedPath`] says why it is refused.
pub fn normalize_path(path: &str) -> Result<Cow<'_, str>, MalformedPath> {
    if !path.starts_with('/') {
        return Err(MalformedPath::NotAbsolute);
    }
    let mut is_normal = true;
    for byte in path.bytes() {
        match FORMS[usize::from(byte)] {
            Form::Plain => {}
            Form::Refused if byte == b'/' => {}
            Form::Refused if byte == b'%' => is_normal = false,
            Form::Encoded => is_normal = false,
            Form::Refused | Form::EncodedOnly => return Err(MalformedPath::Character),
        }
    }
    let normal = if is_normal { Cow::Borrowed(path) } else { Cow::Owned(normalized(path)?) };
    check_segments(&normal)?;
    Ok(normal)
}

fn check_segments(path: &str) -> Result<(), MalformedPath> {
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(MalformedPath::DotSegment),
            // A trailing slash is allowed: it makes another path.
            "" if segments.peek().is_some() => return Err(MalformedPath::EmptySegment),
            _ => {}
        }
    }
    Ok(())
}

fn normalized(path: &str) -> Result<String, MalformedPath> {
    percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| MalformedPath::Encoding)?;
    let mut normal = String::with_capacity(path.len() + 8);
    let mut rest = path;
    while let Some((plain, encoded)) = rest.split_once('%') {
        plain.bytes().for_each(|byte| push(&mut normal, byte));
        let (digits, after) = encoded.split_at_checked(2).ok_or(MalformedPath::Encoding)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(MalformedPath::Encoding);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| MalformedPath::Encoding)?;
        if FORMS[usize::from(byte)] == Form::Refused {
            return Err(MalformedPath::EncodedDelimiter);
        }
        push(&mut normal, byte);
        rest = after;
    }
    rest.bytes().for_each(|byte| push(&mut normal, byte));
    Ok(normal)
}

/// Appends a byte in its normal form; a slash between segments is appended unencoded.
fn push(normal: &mut String, byte: u8) {
    match FORMS[usize::from(byte)] {
        Form::Plain | Form::Refused => normal.push(char::from(byte)),
        Form::Encoded | Form::EncodedOnly => {
            normal.push('%');
            for digit in [byte >> 4, byte & 0xf] {
                let digit = char::from_digit(digit.into(), 16).unwrap_or('0');
                normal.push(digit.to_ascii_uppercase());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_normalised() {
        for (path, wanted) in [
            ("/api/v1/anomalies", "/api/v1/anomalies"),
            ("/api/v1/anomalies/", "/api/v1/anomalies/"),
            ("/api/v1/%61nomalies", "/api/v1/anomalies"),
            ("/api/v1/anomalies/a%20b", "/api/v1/anomalies/a%20b"),
            ("/api/v1/anomalies/%c3%a9", "/api/v1/anomalies/%C3%A9"),
            ("/api/run%3Anow", "/api/run:now"),
            ("/api/run%3anow", "/api/run:now"),
            ("/%21%24%26%27%28%29%2A%2C%3D%40", "/!$&'()*,=@"),
            ("/a+b", "/a%2Bb"),
            ("/a%2bb", "/a%2Bb"),
            ("/a[1]", "/a%5B1%5D"),
            ("/a%5b1%5d", "/a%5B1%5D"),
            ("/%3f%23", "/%3F%23"),
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
            ("/api/run%253Anow", EncodedDelimiter),
            ("/api/v1%3bx=1", EncodedDelimiter),
            ("/api/\"", Character),
            ("/api/{id}", Character),
            ("/api/a b", Character),
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
