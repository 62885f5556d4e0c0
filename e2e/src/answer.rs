//! An HTTP answer, with the checks that cases need.

use std::collections::HashMap;

use serde_json::Value;

/// The base of every problem's type.
pub const PROBLEMS: &str = "https://driftlock.net/problems/";

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header lines in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// One member of a `RateLimit` or `RateLimit-Policy` list: its parameters by name.
pub type Parameters = HashMap<String, u64>;

impl Answer {
    /// The one value of a header.
    ///
    /// # Panics
    /// When the header occurs twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands there twice: {:?}", self.headers);
        value.map(|(_, value)| value.as_str())
    }

    /// The header's value.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn required(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// A header that is a number.
    ///
    /// # Panics
    /// When there is none, or it is no number.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        let value = self.required(name);
        value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}"))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", self.status, self.text()))
    }

    /// Asserts a status.
    ///
    /// # Panics
    /// When the answer has another.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{} {:?}", self.text(), self.headers);
        self
    }

    /// Asserts a problem document of this status and code in the published form (RFC 9457); returns
    /// its detail.
    ///
    /// # Panics
    /// When the answer is anything else.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> String {
        self.expect(status);
        assert_eq!(self.required("content-type"), "application/problem+json", "{}", self.text());
        let body = self.json();
        assert_eq!(body["type"], format!("{PROBLEMS}{code}"), "{body}");
        assert_eq!(body["status"], status, "{body}");
        for member in ["title", "detail"] {
            let text = body[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no {member} in {body}");
        }
        assert_eq!(body["instance"], self.required("x-request-id"), "{body}");
        if status == 401 {
            assert!(self.required("www-authenticate").starts_with("Bearer"));
        }
        body["detail"].as_str().unwrap_or_default().to_owned()
    }

    /// The receipt's number.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn receipt(&self) -> String {
        let receipt = self.required("x-usage-receipt");
        assert!(receipt.starts_with("use_"), "{receipt}");
        receipt.to_owned()
    }

    /// Asserts that the answer was free: it has no receipt.
    ///
    /// # Panics
    /// When it has one.
    #[track_caller]
    pub fn free(&self) -> &Self {
        assert_eq!(self.header("x-usage-receipt"), None, "{self:?}");
        self
    }

    /// The members of a `RateLimit` or `RateLimit-Policy` list, in order.
    ///
    /// # Panics
    /// When the header is missing or malformed.
    #[must_use]
    pub fn limits(&self, header: &str) -> Vec<(String, Parameters)> {
        self.required(header).split(", ").map(|member| limit(header, member)).collect()
    }

    /// One parameter of one member of such a list.
    ///
    /// # Panics
    /// When it is missing.
    #[must_use]
    pub fn limit(&self, header: &str, name: &str, parameter: &str) -> u64 {
        let limits = self.limits(header);
        let found = limits.iter().find(|(member, _)| member == name);
        let value = found.and_then(|(_, parameters)| parameters.get(parameter));
        *value.unwrap_or_else(|| panic!("no {name};{parameter} in {}", self.required(header)))
    }
}

fn limit(header: &str, member: &str) -> (String, Parameters) {
    let mut parts = member.split(';');
    let name = parts.next().and_then(|name| name.strip_prefix('"')?.strip_suffix('"'));
    let name = name.unwrap_or_else(|| panic!("{header}: `{member}` names nothing"));
    let parameter = |part: &str| {
        let (key, value) = part.split_once('=')?;
        Some((key.to_owned(), value.parse().ok()?))
    };
    let parameters = parts
        .map(|part| parameter(part).unwrap_or_else(|| panic!("{header}: `{part}` in `{member}`")))
        .collect();
    (name.to_owned(), parameters)
}
