//! One event: its redacted text, and the masked form that detection examines.
//!
//! An [`Event`] is redacted when it is created, so no later step can store or show a secret.

use serde_json::Value;

use crate::settings::Kind;
use crate::{mask, redact};

/// The most bytes of an event's text that are examined; the rest is cut off.
pub const EVENT_BYTES_MAX: usize = 4_096;

/// A redacted event and its masked form.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The redacted text, or the canonical JSON of a redacted value.
    pub text: String,
    /// The masked text, which is compressed.
    pub masked: String,
    /// The kind of the event, by its form.
    pub kind: Kind,
    /// The numbers of a metric. Empty for logs and traces, where most numbers are names.
    pub readings: Vec<Reading>,
}

/// A number of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The path of the field, such as `disk.free[0]`; empty for an event that is a number.
    pub path: String,
    /// The number, which is finite.
    pub value: f64,
}

impl Event {
    /// Makes an event from a line of text. A line that is a JSON object or a number is read as one.
    pub fn from_line(line: &str) -> Self {
        if let Some(value) = number(line) {
            return Self::of_number(line.trim().to_owned(), value);
        }
        if line.starts_with('{')
            && let Ok(value @ Value::Object(_)) = serde_json::from_str(line)
        {
            return Self::from_json(value);
        }
        let mut text = redact::redact_text(line);
        cut(&mut text, EVENT_BYTES_MAX);
        Self { masked: mask::mask(&text), text, kind: Kind::Logs, readings: Vec::new() }
    }

    /// An event of a JSON value, in canonical form: members sorted by name, no white space.
    pub fn from_json(mut value: Value) -> Self {
        if let Value::String(line) = value {
            return Self::from_line(&line);
        }
        if let Some(number) = value.as_f64() {
            return Self::of_number(value.to_string(), number);
        }
        redact::redact_json(&mut value);
        let kind = kind_of(&value);
        let mut text = String::new();
        write_canonical(&value, &mut text);
        let mut readings = Vec::new();
        if kind == Kind::Metrics {
            read(&value, "", &mut readings);
        }
        let mut masked = mask::mask(&text);
        cut(&mut text, EVENT_BYTES_MAX);
        cut(&mut masked, EVENT_BYTES_MAX);
        Self { text, masked, kind, readings }
    }

    fn of_number(mut text: String, value: f64) -> Self {
        cut(&mut text, EVENT_BYTES_MAX);
        let readings = vec![Reading { path: String::new(), value }];
        Self { text, masked: mask::NUMBER.to_owned(), kind: Kind::Metrics, readings }
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

/// Reads the numbers of a value with their paths: `cpu`, `disk.free[0]`.
fn read(value: &Value, path: &str, readings: &mut Vec<Reading>) {
    match value {
        Value::Number(number) => {
            readings.extend(number.as_f64().map(|value| Reading { path: path.to_owned(), value }));
        }
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                read(item, &format!("{path}[{position}]"), readings);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                read(member, &path, readings);
            }
        }
        Value::String(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// The number that a line consists of.
fn number(line: &str) -> Option<f64> {
    let line = line.trim();
    let starts = line.strip_prefix(['-', '+']).unwrap_or(line);
    if !starts.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    line.parse().ok().filter(|number: &f64| number.is_finite())
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
    fn the_numbers_of_metrics_are_read_and_masked() {
        let event = Event::from_json(json!({"b":{"c":[2,-0.5]},"a":1,"host":"h 7","pin":true}));
        assert_eq!(event.masked, r#"{"a":<n>,"b":{"c":[<n>,-<n>]},"host":"h <n>","pin":true}"#);
        let mut read: Vec<(&str, f64)> =
            event.readings.iter().map(|one| (one.path.as_str(), one.value)).collect();
        read.sort_by(|a, b| a.0.cmp(b.0));
        assert_eq!(read, [("a", 1.0), ("b.c[0]", 2.0), ("b.c[1]", -0.5)]);
        assert_eq!(Event::from_json(json!({"message":"m","ms":3})).readings, []);
    }

    #[test]
    fn a_line_that_is_a_number_is_that_number() {
        for (line, value) in [("17", 17.0), (" -2.5e3 ", -2_500.0), ("+0.1", 0.1)] {
            let event = Event::from_line(line);
            assert_eq!((event.masked.as_str(), event.kind), ("<n>", Kind::Metrics), "{line}");
            assert_eq!(event.readings, [Reading { path: String::new(), value }]);
        }
        for line in ["NaN", "inf", "1e999", "17 ms", "10.0.0.1", "-", ""] {
            assert_eq!(Event::from_line(line).readings, [], "{line}");
        }
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
