//! One event: what is kept of it, and the masked form that detection looks at.
//!
//! An [`Event`] is redacted when it is made, so nothing downstream can store or explain a secret.

use serde_json::Value;

use crate::settings::Kind;
use crate::{mask, redact};

/// The longest text of an event that is looked at, in bytes; what follows is cut off.
pub const EVENT_BYTES_MAX: usize = 4_096;

/// A redacted event and its masked form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The redacted text, or the canonical JSON of a redacted value.
    pub text: String,
    /// What is compressed.
    pub masked: String,
    /// What the event looks like.
    pub kind: Kind,
}

impl Event {
    /// An event of a line of text. A line that is a JSON object is taken as that object.
    pub fn from_line(line: &str) -> Self {
        if line.starts_with('{')
            && let Ok(value @ Value::Object(_)) = serde_json::from_str(line)
        {
            return Self::from_json(value);
        }
        let mut text = redact::redact_text(line);
        cut(&mut text, EVENT_BYTES_MAX);
        Self { masked: mask::mask(&text), text, kind: Kind::Logs }
    }

    /// An event of a JSON value, in canonical form: members sorted by name, no white space.
    pub fn from_json(mut value: Value) -> Self {
        if let Value::String(line) = value {
            return Self::from_line(&line);
        }
        redact::redact_json(&mut value);
        let kind = kind_of(&value);
        let mut text = String::new();
        write_canonical(&value, &mut text);
        let mut masked = if kind == Kind::Metrics {
            let mut bucketed = String::new();
            write_canonical(&bucket_numbers(value), &mut bucketed);
            bucketed
        } else {
            mask::mask(&text)
        };
        cut(&mut text, EVENT_BYTES_MAX);
        cut(&mut masked, EVENT_BYTES_MAX);
        Self { text, masked, kind }
    }
}

/// Shortens `text` to at most `most` bytes without cutting a character.
pub fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

fn kind_of(value: &Value) -> Kind {
    let Value::Object(members) = value else {
        return if value.is_number() { Kind::Metrics } else { Kind::Logs };
    };
    let named = |names: &[&str]| members.keys().any(|name| names.contains(&name.as_str()));
    if named(&["trace_id", "traceId", "span_id", "spanId"]) {
        Kind::Traces
    } else if named(&["message", "msg", "log", "line", "event", "level", "error"]) {
        Kind::Logs
    } else if members.values().any(Value::is_number) {
        Kind::Metrics
    } else {
        Kind::Logs
    }
}

/// The kind of most events, if one has more than half.
pub fn majority<'a>(events: impl ExactSizeIterator<Item = &'a Event> + Clone) -> Kind {
    [Kind::Logs, Kind::Metrics, Kind::Traces]
        .into_iter()
        .find(|kind| events.clone().filter(|event| event.kind == *kind).count() * 2 > events.len())
        .unwrap_or(Kind::Mixed)
}

/// Numbers of a metric carry the signal, so they are not masked but put into buckets half an
/// octave wide: ordinary jitter stays in a bucket or two, a jump leaves them.
fn bucket_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(bucket(number.as_f64().unwrap_or(0.0))),
        Value::Array(items) => Value::Array(items.into_iter().map(bucket_numbers).collect()),
        Value::Object(members) => Value::Object(
            members.into_iter().map(|(name, member)| (name, bucket_numbers(member))).collect(),
        ),
        Value::String(text) => Value::String(mask::mask(&text)),
        Value::Null | Value::Bool(_) => value,
    }
}

fn bucket(number: f64) -> String {
    let sign = if number < 0.0 { "m" } else { "p" };
    if number == 0.0 {
        return "zero".to_owned();
    }
    let half_octave = (number.abs().log2() * 2.0).round();
    let side = if half_octave < 0.0 { "s" } else { "l" };
    format!("{sign}{side}{}", half_octave.abs())
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (position, (name, member)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {
            out.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_and_secrets_gone() {
        let event = Event::from_json(json!({"b":{"d":1,"c":[2,"x"]},"a":"hi","token":"t"}));
        assert_eq!(event.text, r#"{"a":"hi","b":{"c":[2,"x"],"d":1},"token":"[REDACTED]"}"#);
        let line = Event::from_line(r#"{"b":1,"a":"x 17","msg":"m"}"#);
        assert_eq!(line.text, r#"{"a":"x 17","b":1,"msg":"m"}"#);
        assert_eq!(line.masked, r#"{"a":"x <n>","b":<n>,"msg":"m"}"#);
    }

    #[test]
    fn metrics_keep_their_magnitude() {
        let masked = |value| Event::from_json(value).masked;
        assert_eq!(masked(json!(100)), masked(json!(104.5)));
        assert_ne!(masked(json!(100)), masked(json!(1_000)));
        assert_ne!(masked(json!(0.1)), masked(json!(-0.1)));
        assert_eq!(masked(json!({"cpu":0.5})), r#"{"cpu":"ps2"}"#);
    }

    #[test]
    fn kinds_go_by_the_majority() {
        let events = |values: &[Value]| -> Vec<Event> {
            values.iter().cloned().map(Event::from_json).collect()
        };
        let kind = |values: &[Value]| majority(events(values).iter());
        assert_eq!(kind(&[json!(1), json!(2), json!("x")]), Kind::Metrics);
        assert_eq!(kind(&[json!({"trace_id":"a"})]), Kind::Traces);
        assert_eq!(kind(&[json!(1), json!("x")]), Kind::Mixed);
        assert_eq!(kind(&[]), Kind::Mixed);
    }

    #[test]
    fn long_events_are_cut_between_characters() {
        let event = Event::from_line(&"ü".repeat(EVENT_BYTES_MAX));
        assert!(event.text.len() <= EVENT_BYTES_MAX && event.text.ends_with('ü'));
    }
}
