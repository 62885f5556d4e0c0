//! Redaction: values of sensitive fields never reach the store, an explanation or an answer.
//!
//! A field is sensitive when a word of its name is one of [`SENSITIVE`]: `api_key`, `accessToken`
//! and `Set-Cookie` are, `monkey` and `keyboard` are not. JSON is redacted by structure, text by
//! `name=value` and `name: value`, quoted or not. In doubt more is redacted, not less.

use serde_json::Value;

/// The text that replaces a redacted value.
pub const REDACTED: &str = "[REDACTED]";

/// Words that make a field name sensitive, in lower case.
const SENSITIVE: [&str; 20] = [
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "token",
    "tokens",
    "key",
    "keys",
    "apikey",
    "secret",
    "secrets",
    "jwt",
    "jwts",
    "authorization",
    "cookie",
    "cookies",
    "bearer",
    "credential",
    "credentials",
];

/// Names whose value extends to the end of the line, since it may contain spaces.
const WHOLE_LINE: [&str; 4] = ["authorization", "cookie", "cookies", "passphrase"];

/// Redacts in place: sensitive members lose their value, every other string is redacted as text.
/// Recursion is bounded by the depth limit of the JSON parser.
pub fn redact_json(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                if is_sensitive(name) {
                    *member = Value::String(REDACTED.to_owned());
                } else {
                    redact_json(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact_json),
        Value::String(text) => {
            if let Some(redacted) = redact_where_needed(text) {
                *text = redacted;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text without the values of sensitive names.
pub fn redact_text(text: &str) -> String {
    redact_where_needed(text).unwrap_or_else(|| text.to_owned())
}

fn redact_where_needed(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut redacted: Option<String> = None;
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        if !is_name(bytes[at]) {
            at += 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|byte| is_name(**byte)).count();
        // Names are ASCII, so both ends are character boundaries.
        let value = value_of(bytes, &text[at..end], end);
        at = end;
        if let Some((start, stop)) = value {
            let out = redacted.get_or_insert_with(|| String::with_capacity(text.len()));
            out.push_str(&text[copied..start]);
            out.push_str(REDACTED);
            copied = stop;
            at = stop;
        }
    }
    redacted.map(|mut out| {
        out.push_str(&text[copied..]);
        out
    })
}

/// The range of the value that follows the sensitive `name`, which ends at `end`; `None` when there
/// is no value.
fn value_of(bytes: &[u8], name: &str, end: usize) -> Option<(usize, usize)> {
    if !is_sensitive(name) {
        return None;
    }
    let bearer = name.eq_ignore_ascii_case("bearer");
    let mut at = skip(bytes, end, b"\\\"' \t]");
    match bytes.get(at)? {
        b'=' | b':' => at = skip(bytes, at + 1, b" \t=>"),
        _ if bearer && bytes.get(end) == Some(&b' ') => {}
        _ => return None,
    }
    let whole_line = words(name).any(|word| WHOLE_LINE.contains(&word.as_str()));
    let stop = value_end(bytes, at, if whole_line { Extent::Line } else { Extent::Word });
    let start = skip(bytes, at, b"\\\"'").min(stop);
    (stop > start).then_some((start, stop))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Word,
    Line,
}

/// The end of the value that starts at `at`; always before an ASCII byte or at the end.
fn value_end(bytes: &[u8], at: usize, extent: Extent) -> usize {
    let opened = skip(bytes, at, b"\\");
    let rest = |from: usize, ends: &dyn Fn(u8) -> bool| {
        from + bytes[from..].iter().take_while(|byte| !ends(**byte)).count()
    };
    match bytes.get(opened) {
        // `\"value\"` of JSON within JSON ends before its second backslash.
        Some(&quote @ (b'"' | b'\'')) if opened > at => {
            rest(opened + 1, &|byte| byte == quote || byte == b'\\' || byte == b'\n')
        }
        Some(&quote @ (b'"' | b'\'')) => quoted_end(bytes, opened + 1, quote),
        Some(b'[' | b'{') => bracket_end(bytes, opened),
        Some(_) if extent == Extent::Line => rest(opened, &|byte| matches!(byte, b'\n' | b'"')),
        Some(_) => {
            let word = |from| rest(from, &|byte| b" \t\r\n,;&\"')}]|".contains(&byte));
            let first = word(opened);
            let scheme = bytes[opened..first].to_ascii_lowercase();
            let is_scheme = matches!(scheme.as_slice(), b"bearer" | b"basic" | b"digest");
            if is_scheme { word(skip(bytes, first, b" \t")) } else { first }
        }
        None => bytes.len(),
    }
}

fn quoted_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    // An escape may be the end of the text, or may precede a multi-byte character: skip its rest.
    let mut end = at.min(bytes.len());
    while end < bytes.len() && bytes[end] & 0xC0 == 0x80 {
        end += 1;
    }
    end
}

/// The position after the bracket that closes the one at `at`, or the end of the text if none does.
fn bracket_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in bytes[at..].iter().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + offset + 1;
        }
    }
    bytes.len()
}

fn skip(bytes: &[u8], from: usize, any_of: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| any_of.contains(byte)).count()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Whether a field with this name contains a secret.
pub fn is_sensitive(name: &str) -> bool {
    words(name).any(|word| SENSITIVE.contains(&word.as_str()))
}

/// The words of a name in lower case, split at separators and between lower and upper case.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut lower = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() || (lower && letter.is_uppercase()) {
            words.push(String::new());
        }
        lower = letter.is_lowercase();
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_loses_the_values_of_sensitive_names() {
        for (text, expected) in [
            ("login password=hunter2 ok", "login password=[REDACTED] ok"),
            ("api_key: abc123, user: bob", "api_key: [REDACTED], user: bob"),
            ("Authorization: Bearer abc.def.ghi", "Authorization: [REDACTED]"),
            ("Set-Cookie: a=b; c=d", "Set-Cookie: [REDACTED]"),
            ("accessToken=\"a b c\" x", "accessToken=\"[REDACTED]\" x"),
            (r#"{"secret":"a\"b","n":1}"#, r#"{"secret":"[REDACTED]","n":1}"#),
            (r#"m={\"jwt\":\"x.y\",\"n\":1}"#, r#"m={\"jwt\":\"[REDACTED]\",\"n\":1}"#),
            ("tokens: [a, [b], c] z", "tokens: [REDACTED] z"),
            ("token=Bearer abc x", "token=[REDACTED] x"),
            ("sent Bearer abc x", "sent Bearer [REDACTED] x"),
            (
                "monkey=1 keyboard: 2 duplicate key value",
                "monkey=1 keyboard: 2 duplicate key value",
            ),
            ("größe=1 password=größe ü", "größe=1 password=[REDACTED] ü"),
            ("password=", "password="),
            ("password='ünf", "password='[REDACTED]"),
        ] {
            assert_eq!(redact_text(text), expected);
        }
    }

    #[test]
    fn json_is_redacted_by_structure() {
        let mut value =
            json!({"user":"a","Password":{"x":1},"list":[{"apiKey":"k"}],"m":"token=x"});
        redact_json(&mut value);
        assert_eq!(
            value,
            json!({"user":"a","Password":REDACTED,"list":[{"apiKey":REDACTED}],
                   "m":"token=[REDACTED]"})
        );
    }

    #[test]
    fn no_cut_text_panics() {
        let text = r#"ü password="é\é" token=\"ß\" key:{"ü":[1} cookie: ö"#;
        for (start, _) in text.char_indices() {
            for end in (start..=text.len()).filter(|end| text.is_char_boundary(*end)) {
                redact_text(&text[start..end]);
            }
        }
    }
}
