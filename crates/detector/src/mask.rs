//! Masking: replaces the parts that differ between any two lines of a healthy log.
//!
//! Timestamps, numbers, hex ids and UUIDs become short placeholders before compressing. Otherwise
//! every window would differ from its baseline by its timestamps alone. The scanner makes one pass
//! over the bytes. It replaces only ASCII runs that it recognizes, so UTF-8 stays intact.

/// The masked form of one event.
pub fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut masked = String::with_capacity(bytes.len());
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        let starts_word = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        match recognize(&bytes[at..], starts_word) {
            Some((length, name)) => {
                masked.push_str(&text[copied..at]);
                masked.push_str(name);
                at += length;
                copied = at;
            }
            None => at += 1,
        }
    }
    masked.push_str(&text[copied..]);
    masked
}

/// The longest prefix of `rest` that is to be masked, with its placeholder.
fn recognize(rest: &[u8], starts_word: bool) -> Option<(usize, &'static str)> {
    let first = *rest.first()?;
    if !first.is_ascii_alphanumeric() {
        return None;
    }
    if starts_word {
        if let Some(length) = uuid(rest) {
            return Some((length, UUID));
        }
        if let Some(length) = date(rest).or_else(|| month_day(rest)).or_else(|| clock(rest)) {
            return Some((length, TIMESTAMP));
        }
        if let Some(length) = hex(rest) {
            return Some((length, HEX));
        }
    }
    first.is_ascii_digit().then(|| (number(rest), NUMBER))
}

const UUID: &str = "<uuid>";
const TIMESTAMP: &str = "<ts>";
const HEX: &str = "<hex>";
/// The placeholder for a number.
pub(crate) const NUMBER: &str = "<n>";
/// A run of hex digits without `0x` counts as an id from this length on.
const HEX_RUN_MIN: usize = 8;
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

fn run(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| belongs(byte)).count()
}

fn ends_word(rest: &[u8], length: usize) -> bool {
    rest.get(length).is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

fn uuid(rest: &[u8]) -> Option<usize> {
    let shape = rest.get(..36)?;
    let fits = shape.iter().enumerate().all(|(i, byte)| match i {
        8 | 13 | 18 | 23 => *byte == b'-',
        0..=35 => byte.is_ascii_hexdigit(),
        36.. => false,
    });
    (fits && ends_word(rest, 36)).then_some(36)
}

/// `2026-01-31`, `2026/01/31`, each with an optional clock, or `31/Jan/2026:10:00:00 +0000`.
fn date(rest: &[u8]) -> Option<usize> {
    let digits = run(rest, u8::is_ascii_digit);
    let length = match (digits, rest.get(digits)?) {
        (4, separator @ (b'-' | b'/')) => {
            let fits = matches!(rest.get(5..10)?, [a, b, s, c, d]
                if [a, b, c, d].iter().all(|x| x.is_ascii_digit()) && s == separator);
            fits.then_some(10)?
        }
        (1 | 2, b'/') => {
            let month = rest.get(digits + 1..digits + 4)?;
            let year = rest.get(digits + 4..digits + 9)?;
            let fits = MONTHS.contains(&month)
                && year[0] == b'/'
                && year[1..].iter().all(u8::is_ascii_digit);
            fits.then_some(digits + 9)?
        }
        _ => return None,
    };
    let gap = run(&rest[length..], |byte| matches!(byte, b' ' | b'T' | b't' | b':'));
    let gap = gap.min(2);
    let after = rest.get(length + gap..).unwrap_or_default();
    Some(clock(after).filter(|_| gap > 0).map_or(length, |clock| length + gap + clock))
}

/// `Jan 31 10:00:00`, with one or two spaces before the day and an optional weekday elsewhere.
fn month_day(rest: &[u8]) -> Option<usize> {
    if !MONTHS.contains(&rest.get(..3)?) {
        return None;
    }
    let spaces = run(&rest[3..], |byte| *byte == b' ');
    let day = run(&rest[3 + spaces..], u8::is_ascii_digit);
    if !(1..=2).contains(&spaces) || !(1..=2).contains(&day) {
        return None;
    }
    let length = 3 + spaces + day;
    let clock = rest.get(length + 1..).and_then(clock).filter(|_| rest[length] == b' ')?;
    Some(length + 1 + clock)
}

/// `10:00`, `10:00:00`, with an optional fraction and zone.
fn clock(rest: &[u8]) -> Option<usize> {
    let two = |at: usize| rest.get(at..at + 2).is_some_and(|d| d.iter().all(u8::is_ascii_digit));
    if !(two(0) && rest.get(2) == Some(&b':') && two(3)) {
        return None;
    }
    let mut length = 5;
    if rest.get(5) == Some(&b':') && two(6) {
        length = 8;
        if matches!(rest.get(8), Some(b'.' | b',')) {
            let fraction = run(&rest[9..], u8::is_ascii_digit);
            length += if fraction > 0 { 1 + fraction } else { 0 };
        }
    }
    if rest.get(length).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    if matches!(rest.get(length), Some(b'Z' | b'z')) {
        return Some(length + 1);
    }
    let spaced = length + usize::from(rest.get(length) == Some(&b' '));
    if matches!(rest.get(spaced), Some(b'+' | b'-')) && two(spaced + 1) {
        let colon = usize::from(rest.get(spaced + 3) == Some(&b':'));
        if two(spaced + 3 + colon) {
            return Some(spaced + 5 + colon);
        }
    }
    Some(length)
}

fn hex(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"0x") || rest.starts_with(b"0X") {
        let digits = run(&rest[2..], u8::is_ascii_hexdigit);
        return (digits > 0).then_some(2 + digits);
    }
    let length = run(rest, u8::is_ascii_hexdigit);
    let id = &rest[..length];
    let mixed = id.iter().any(u8::is_ascii_digit) && id.iter().any(u8::is_ascii_alphabetic);
    (length >= HEX_RUN_MIN && mixed && ends_word(rest, length)).then_some(length)
}

/// Digits, dotted groups of them included: addresses and versions are one number each.
fn number(rest: &[u8]) -> usize {
    let mut length = run(rest, u8::is_ascii_digit);
    while rest.get(length) == Some(&b'.') {
        match run(&rest[length + 1..], u8::is_ascii_digit) {
            0 => break,
            more => length += 1 + more,
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_what_differs_between_healthy_lines() {
        for (text, expected) in [
            ("2025-06-24 14:36:25 startup archives", "<ts> startup archives"),
            ("at 2026-01-31T10:00:00.123456Z.", "at <ts>."),
            ("2026-01-31T10:00:00+02:00 x", "<ts> x"),
            ("2026/01/31 up", "<ts> up"),
            ("Jan  3 10:00:00 host sshd[812]: x", "<ts> host sshd[<n>]: x"),
            ("[31/Jan/2026:10:00:00 +0000] GET", "[<ts>] GET"),
            ("took 12.5 ms, -3 left", "took <n> ms, -<n> left"),
            ("10.0.0.1:8080", "<n>:<n>"),
            ("id 550e8400-e29b-41d4-a716-446655440000", "id <uuid>"),
            ("ptr 0xdeadBEEF+0x1f", "ptr <hex>+<hex>"),
            ("commit 3f786850e387550f", "commit <hex>"),
            ("eth0 libc6:amd64", "eth<n> libc<n>:amd<n>"),
            ("deadbeef facade", "deadbeef facade"),
            ("Mayor May May 1", "Mayor May May <n>"),
            ("größe 12 µs – ok", "größe <n> µs – ok"),
            ("", ""),
        ] {
            assert_eq!(mask(text), expected, "{text}");
        }
    }

    #[test]
    fn odd_ends_neither_panic_nor_lose_text() {
        let line = "é2026-01-31T10:00:00.1Z 0x 12: 3. Jan 3 1/Jan/2026: 550e8400-e29b ü";
        for end in (0..=line.len()).filter(|end| line.is_char_boundary(*end)) {
            let start = (0..=end).find(|start| line.is_char_boundary(*start)).unwrap_or(0);
            mask(&line[start..end]);
        }
        assert_eq!(mask("3. x"), "<n>. x");
        assert_eq!(mask("0x"), "<n>x");
    }
}
