//! Short text built on the stack, without `core::fmt` and without an allocation. Requests use it
//! for numbers, ids and addresses.
//!
//! Invariant: the text consists of whole characters. A piece that does not fit is left out, so
//! callers must choose a sufficient capacity.

use std::fmt;
use std::net::IpAddr;

/// Text of at most `N` bytes.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

/// The greatest length of an address: IPv6 with an IPv4 address at its end.
pub const IP_CHARS_MAX: usize = 45;
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Decimal digits of the greatest `u64`.
const DECIMALS_MAX: usize = 20;

impl<const N: usize> Text<N> {
    /// Empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole strings are appended, so this always succeeds.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Appends text.
    pub fn push_str(&mut self, text: &str) {
        let end = self.length + text.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(text.as_bytes());
            self.length = end;
        }
    }

    /// Appends a number in decimal.
    pub fn push_number(&mut self, number: u64) {
        let mut digits = [0; DECIMALS_MAX];
        let (mut rest, mut first) = (number, DECIMALS_MAX);
        loop {
            first -= 1;
            digits[first] = DIGITS[(rest % 10) as usize];
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push_str(str::from_utf8(&digits[first..]).unwrap_or_default());
    }

    /// Appends bytes as lower-case hex digits.
    pub fn push_hex(&mut self, bytes: &[u8]) {
        let end = self.length + 2 * bytes.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            for (pair, byte) in place.chunks_exact_mut(2).zip(bytes) {
                pair[0] = DIGITS[usize::from(byte >> 4)];
                pair[1] = DIGITS[usize::from(byte & 15)];
            }
            self.length = end;
        }
    }
}

/// An address as text.
#[must_use]
pub fn ip(ip: IpAddr) -> Text<IP_CHARS_MAX> {
    let mut text = Text::new();
    match ip {
        IpAddr::V4(v4) => {
            for (place, octet) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    text.push_str(".");
                }
                text.push_number(u64::from(octet));
            }
        }
        IpAddr::V6(v6) => {
            // Every address fits.
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{v6}"));
        }
    }
    text
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let before = self.length;
        self.push_str(text);
        if self.length == before + text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_decimal(number: u64) {
            let mut text = Text::<20>::new();
            text.push_number(number);
            prop_assert_eq!(text.as_str(), number.to_string());
        }

        #[test]
        fn addresses_have_their_usual_text(v4: u32, v6: u128) {
            for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                let text = ip(address);
                prop_assert_eq!(text.as_str(), address.to_string());
            }
        }

        #[test]
        fn bytes_are_hex(bytes: [u8; 16]) {
            let mut text = Text::<32>::new();
            text.push_hex(&bytes);
            prop_assert_eq!(text.as_str(), hex::encode(bytes));
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut text = Text::<4>::new();
        for piece in ["ab", "cde", "f"] {
            text.push_str(piece);
        }
        assert_eq!(text.as_str(), "abf");
    }
}
