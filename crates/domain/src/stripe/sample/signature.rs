//! Signature headers that must be accepted or refused, one of each kind. The tests of every host
//! use these cases.
//!
//! The headers are made for any secret, time and body, since over HTTP the gateway's own clock
//! counts. `tests/signature_cases.rs` compares them with headers that were computed by another
//! program.

use crate::stripe::signature::{SignatureError, digest, sign, sign_with};

/// A kind of delivery, and whether it must be accepted.
#[derive(Debug, Clone, Copy)]
pub struct SignatureCase {
    /// The name of the case: what is special about it.
    pub name: &'static str,
    /// How many seconds ago it was signed.
    pub age_secs: i64,
    /// The expected result while the former secret is valid, too.
    pub verdict: Result<(), SignatureError>,
    /// Whether only the former secret makes it acceptable.
    pub takes_former: bool,
    header: fn(&Signer<'_>) -> String,
    arrives: fn(&str) -> String,
}

/// The parts that a header is made from.
#[derive(Debug)]
struct Signer<'a> {
    secret: &'a str,
    former: &'a str,
    time: i64,
    body: &'a str,
}

/// One delivery of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDelivery {
    /// The header.
    pub header: String,
    /// The body as it arrives.
    pub body: String,
}

impl SignatureCase {
    /// Makes the delivery at `now` (Unix seconds) with the current and the former secret. The body
    /// must begin with a brace and contain a character beyond ASCII.
    #[must_use]
    pub fn make(&self, secret: &str, former: &str, now: i64, body: &str) -> SignedDelivery {
        let signer = Signer { secret, former, time: now - self.age_secs, body };
        SignedDelivery { header: (self.header)(&signer), body: (self.arrives)(body) }
    }
}

impl Signer<'_> {
    fn by(&self, secret: &str) -> String {
        self.over(secret, &self.time.to_string())
    }

    fn v1(&self) -> String {
        self.by(self.secret)
    }

    /// The signature with this text as time.
    fn over(&self, secret: &str, time: &str) -> String {
        digest(secret, time.as_bytes(), self.body.as_bytes())
    }

    /// A header with this text as time, which is also the signed time.
    fn at(&self, time: &str) -> String {
        format!("t={time},v1={}", self.over(self.secret, time))
    }
}

/// The header as Stripe makes it.
fn plain(signer: &Signer<'_>) -> String {
    sign(signer.secret, signer.time, signer.body.as_bytes())
}

const STRANGER: &str = "whsec_somebody_elses_0123456789abcdef";
const ACCEPTED: Result<(), SignatureError> = Ok(());
const NO_TIME: Result<(), SignatureError> = Err(SignatureError::NoTime);
const NO_SIGNATURE: Result<(), SignatureError> = Err(SignatureError::NoSignature);
const OUTSIDE: Result<(), SignatureError> = Err(SignatureError::OutsideTolerance);
const MISMATCH: Result<(), SignatureError> = Err(SignatureError::Mismatch);

/// All cases.
pub const SIGNATURE_CASES: &[SignatureCase] = &[
    // Correct headers, with harmless additions.
    case("plain", ACCEPTED, plain),
    case("the order of its elements is free", ACCEPTED, |s| format!("v1={},t={}", s.v1(), s.time)),
    case("a v0 beside it", ACCEPTED, |s| format!("{},v0={}", plain(s), s.by(STRANGER))),
    case("schemes to come", ACCEPTED, |s| format!("v3=x,{},v2=ff,u=", plain(s))),
    case("an element without a value", ACCEPTED, |s| format!("v9,{}", plain(s))),
    case("a comma too many", ACCEPTED, |s| format!("{},", plain(s))),
    case("an undecodable v1 first", ACCEPTED, |s| format!("v1=zz,{}", plain(s))),
    case("an empty v1 last", ACCEPTED, |s| format!("{},v1=", plain(s))),
    case("hex digits in capitals", ACCEPTED, |s| {
        format!("t={},v1={}", s.time, s.v1().to_uppercase())
    }),
    // Several secrets, several signatures.
    case("two v1, the first ours", ACCEPTED, |s| format!("{},v1={}", plain(s), s.by(STRANGER))),
    case("two v1, the second ours", ACCEPTED, |s| {
        format!("t={},v1={},v1={}", s.time, s.by(STRANGER), s.v1())
    }),
    case("rotation, signed by both", ACCEPTED, |s| {
        sign_with(&[s.secret, s.former], s.time, s.body.as_bytes())
    }),
    former("rotation, signed by the former only", |s| sign(s.former, s.time, s.body.as_bytes())),
    case("by somebody else's secret", MISMATCH, |s| format!("t={},v1={}", s.time, s.by(STRANGER))),
    case("two v1, neither ours", MISMATCH, |s| {
        format!("t={},v1={},v1={}", s.time, s.by(STRANGER), s.by("whsec_"))
    }),
    case("by the secret without its prefix", MISMATCH, |s| {
        format!("t={},v1={}", s.time, s.by(s.secret.trim_start_matches("whsec_")))
    }),
    case("by the secret and a line break", MISMATCH, |s| {
        format!("t={},v1={}", s.time, s.by(&format!("{}\n", s.secret)))
    }),
    // Headers without a usable signature.
    case("only a v0, and that right", NO_SIGNATURE, |s| format!("t={},v0={}", s.time, s.v1())),
    case("a right v0 beside a wrong v1", MISMATCH, |s| {
        format!("t={},v1={},v0={}", s.time, s.by(STRANGER), s.v1())
    }),
    case("the scheme in capitals", NO_SIGNATURE, |s| format!("t={},V1={}", s.time, s.v1())),
    case("no signature", NO_SIGNATURE, |s| format!("t={}", s.time)),
    case("an empty v1", NO_SIGNATURE, |s| format!("t={},v1=", s.time)),
    case("a v1 that is no hex", NO_SIGNATURE, |s| format!("t={},v1={}", s.time, "g".repeat(64))),
    case("a v1 cut short", NO_SIGNATURE, |s| format!("t={},v1={}", s.time, &s.v1()[..62])),
    case("a v1 of an odd length", NO_SIGNATURE, |s| format!("t={},v1={}", s.time, &s.v1()[..63])),
    case("a v1 with more behind it", NO_SIGNATURE, |s| format!("{}00", plain(s))),
    case("a v1 with another = behind it", NO_SIGNATURE, |s| format!("{}=x", plain(s))),
    case("a space after the comma", NO_SIGNATURE, |s| format!("t={}, v1={}", s.time, s.v1())),
    case("a space before the digits", NO_SIGNATURE, |s| format!("t={},v1= {}", s.time, s.v1())),
    case("a v1 of zeros", MISMATCH, |s| format!("t={},v1={}", s.time, "0".repeat(64))),
    // Headers without exactly one valid time.
    case("nothing", NO_TIME, |_| String::new()),
    case("only commas", NO_TIME, |_| ",,".to_owned()),
    case("no header of ours", NO_TIME, |_| "Bearer of a token".to_owned()),
    case("names without values", NO_TIME, |_| "t,v1=,v0=".to_owned()),
    case("no time", NO_TIME, |s| format!("v1={}", s.v1())),
    case("an empty time", NO_TIME, |s| s.at("")),
    case("the time twice", NO_TIME, |s| format!("t={},{}", s.time, plain(s))),
    case("another time first", NO_TIME, |s| format!("t={},{}", s.time - 5, plain(s))),
    case("another time last", NO_TIME, |s| format!("{},t={}", plain(s), s.time - 5)),
    case("a time with a zero before it", NO_TIME, |s| s.at(&format!("0{}", s.time))),
    case("a time with a sign", NO_TIME, |s| s.at(&format!("+{}", s.time))),
    case("a time with a space before it", NO_TIME, |s| s.at(&format!(" {}", s.time))),
    case("a time with letters behind it", NO_TIME, |s| s.at(&format!("{}s", s.time))),
    case("a time with a fraction", NO_TIME, |s| s.at(&format!("{}.0", s.time))),
    case("a time before 1970", NO_TIME, |s| s.at("-5")),
    case("a time beyond numbers", NO_TIME, |s| s.at("99999999999999999999")),
    // Clock skew in both directions.
    aged("of some minutes ago", ACCEPTED, 240),
    aged("of some minutes to come", ACCEPTED, -240),
    aged("five minutes old", ACCEPTED, 300),
    aged("five minutes early", ACCEPTED, -300),
    aged("a second too old", OUTSIDE, 301),
    aged("a second too early", OUTSIDE, -301),
    aged("an hour old", OUTSIDE, 3_600),
    aged("an hour early", OUTSIDE, -3_600),
    // Bodies that differ from the signed body.
    altered("a space behind the body", |body| format!("{body} ")),
    altered("a line break behind the body", |body| format!("{body}\n")),
    altered("a byte order mark before the body", |body| format!("\u{feff}{body}")),
    altered("the body cut short", |body| body[..body.len() - 1].to_owned()),
    altered("one character another", |body| body.replacen('{', "[", 1)),
    altered("spaces that mean nothing", |body| body.replacen('{', "{ ", 1)),
    altered("characters as escapes", |body| {
        let escaped = |found: char| match found {
            ' '..='~' => found.to_string(),
            other => other
                .encode_utf16(&mut [0; 2])
                .iter()
                .fold(String::new(), |text, unit| format!("{text}\\u{unit:04x}")),
        };
        body.chars().map(escaped).collect()
    }),
    altered("no body", |_| String::new()),
    case("signed without the time", MISMATCH, |s| {
        let bare = digest(s.secret, b"", s.body.as_bytes());
        format!("t={},v1={bare}", s.time)
    }),
    case("signed over another time", MISMATCH, |s| {
        format!("t={},v1={}", s.time, s.over(s.secret, &(s.time - 1).to_string()))
    }),
];

const fn case(
    name: &'static str,
    verdict: Result<(), SignatureError>,
    header: fn(&Signer<'_>) -> String,
) -> SignatureCase {
    SignatureCase {
        name,
        age_secs: 0,
        verdict,
        takes_former: false,
        header,
        arrives: str::to_owned,
    }
}

const fn former(name: &'static str, header: fn(&Signer<'_>) -> String) -> SignatureCase {
    SignatureCase { takes_former: true, ..case(name, ACCEPTED, header) }
}

const fn aged(
    name: &'static str,
    verdict: Result<(), SignatureError>,
    age_secs: i64,
) -> SignatureCase {
    SignatureCase { age_secs, ..case(name, verdict, plain) }
}

const fn altered(name: &'static str, arrives: fn(&str) -> String) -> SignatureCase {
    SignatureCase { arrives, ..case(name, MISMATCH, plain) }
}

#[cfg(test)]
#[path = "../tests/signature_cases.rs"]
mod tests;
