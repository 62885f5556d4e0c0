//! What Stripe's answer to a meter event means for the report.

use std::time::Duration;

use serde_json::Value;

/// The longest wait that an answer may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// The most characters of Stripe's message that are stored.
const MESSAGE_CHARS_MAX: usize = 500;

/// The relevant parts of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The header `Stripe-Should-Retry`.
    pub should_retry: Option<&'a str>,
    /// The header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Stripe has it.
    Delivered,
    /// Stripe has it from an earlier attempt, which counts as delivered.
    Duplicate,
    /// It must be sent again, after a wait.
    Retry {
        /// The wait that the answer asks for.
        after: Option<Duration>,
    },
    /// Our secret key is refused: Stripe accepts no report until an operator changes that.
    KeyRefused,
    /// Whether Stripe has it is unknown and Stripe forbids another attempt: compare the sums.
    Reconcile,
    /// Stripe will never accept it as it is.
    Permanent {
        /// Stripe's code.
        code: Option<String>,
        /// Stripe's message, for people.
        message: String,
    },
}

impl Outcome {
    /// The outcome if there is no answer: the call timed out or the connection broke.
    #[must_use]
    pub const fn unanswered() -> Self {
        Self::Retry { after: None }
    }

    /// The outcome of an answer.
    #[must_use]
    pub fn of(answer: Answer<'_>) -> Self {
        let error = || {
            let body: Value = serde_json::from_slice(answer.body).unwrap_or_default();
            let member = |name: &str| body["error"][name].as_str().map(str::to_owned);
            (member("code"), member("message").unwrap_or_default())
        };
        let transient = matches!(answer.status, 408 | 409 | 429 | 500..=599);
        match (answer.status, answer.should_retry) {
            (200..=299, _) => Self::Delivered,
            (400, _) if is_duplicate(&error().1) => Self::Duplicate,
            (401 | 403, _) => Self::KeyRefused,
            (_, Some("true")) => Self::Retry { after: wait(answer.retry_after) },
            (_, Some("false")) if transient => Self::Reconcile,
            _ if transient => Self::Retry { after: wait(answer.retry_after) },
            _ => {
                let (code, message) = error();
                let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
                Self::Permanent { code, message }
            }
        }
    }
}

/// Recognizes "An event already exists with identifier …".
fn is_duplicate(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("already exists") && message.contains("identifier")
}

fn wait(retry_after: Option<&str>) -> Option<Duration> {
    let secs = retry_after?.trim().parse().ok()?;
    Some(Duration::from_secs(secs).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, should_retry: Option<&str>, message: &str) -> Outcome {
        let body = serde_json::json!({ "error": { "code": "c", "message": message } }).to_string();
        Outcome::of(Answer { status, should_retry, retry_after: Some("7"), body: body.as_bytes() })
    }

    #[test]
    fn a_400_for_a_repeated_identifier_is_delivered_and_stalls_nothing() {
        let text = "An event already exists with identifier dl-1.";
        assert_eq!(of(400, None, text), Outcome::Duplicate);
        assert_eq!(of(400, Some("false"), text), Outcome::Duplicate);
        assert!(matches!(of(400, None, "identifier is too long"), Outcome::Permanent { .. }));
        assert!(matches!(of(404, None, text), Outcome::Permanent { .. }), "only a 400 says so");
    }

    #[test]
    fn stripe_decides_whether_to_try_again() {
        let again = Outcome::Retry { after: Some(Duration::from_secs(7)) };
        for status in [409, 429, 500, 503] {
            assert_eq!(of(status, None, ""), again, "{status}");
            assert_eq!(of(status, Some("true"), ""), again, "{status}");
            assert_eq!(of(status, Some("false"), ""), Outcome::Reconcile, "{status}");
        }
        assert_eq!(of(400, Some("true"), "lock"), again);
        assert_eq!(of(200, Some("true"), ""), Outcome::Delivered);
    }

    #[test]
    fn a_refused_key_loses_no_usage_and_the_rest_is_permanent() {
        assert_eq!(of(401, Some("false"), "bad key"), Outcome::KeyRefused);
        let permanent = Outcome::Permanent { code: Some("c".into()), message: "no meter".into() };
        assert_eq!(of(400, Some("false"), "no meter"), permanent);
        let broken = Answer { status: 302, should_retry: None, retry_after: None, body: b"<html>" };
        assert_eq!(Outcome::of(broken), Outcome::Permanent { code: None, message: String::new() });
    }

    #[test]
    fn a_wait_is_bounded() {
        let answer = |retry_after| {
            Outcome::of(Answer { status: 429, should_retry: None, retry_after, body: b"" })
        };
        let asked = |secs| Outcome::Retry { after: Some(Duration::from_secs(secs)) };
        assert_eq!(answer(Some("999999")), asked(3_600));
        assert_eq!(answer(Some("soon")), Outcome::unanswered());
    }
}
