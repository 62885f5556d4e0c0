//! Parses the body of a detection request into events and settings.

use serde_json::Value;

use crate::event::Event;
use crate::settings::{Settings, real};

/// Why a body is not a valid detection request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body as a whole is not valid.
    #[error("{0}")]
    Body(String),
    /// One field is missing, of another type or out of its range.
    #[error("{field} {problem}")]
    Field {
        /// The field's path, such as `config_override.hop_size`.
        field: String,
        /// What the field must be.
        problem: String,
    },
}

impl Malformed {
    pub(crate) fn field(field: &str, problem: String) -> Self {
        Self::Field { field: field.to_owned(), problem }
    }
}

/// The most events of one request.
pub const EVENTS_MAX: usize = 100_000;

/// A parsed detection request.
#[derive(Clone, Debug)]
pub struct Input {
    /// The events, in order.
    pub events: Vec<Event>,
    /// The settings, all in range.
    pub settings: Settings,
    /// The stream that the events belong to, if the request names one.
    pub stream_id: Option<String>,
}

/// Parses lines of text: one event per line that is not blank.
///
/// # Errors
/// When there are more than [`EVENTS_MAX`] events.
pub fn parse_text(text: &str) -> Result<Input, Malformed> {
    let events: Vec<Event> = lines(text).take(EVENTS_MAX + 1).map(Event::from_line).collect();
    check_count("the body", events.len())?;
    Ok(Input { events, settings: Settings::default(), stream_id: None })
}

/// Parses a JSON body: `{"data":…}`, `{"stream_id","events"}` or a bare array of events.
///
/// # Errors
/// [`Malformed`] says what is wrong, with the field's name and its range if it has one.
pub fn parse_json(body: &[u8]) -> Result<Input, Malformed> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Malformed::Body(format!("the body is not valid JSON: {error}")))?;
    let mut members = match value {
        Value::Object(members) => members,
        items @ Value::Array(_) => {
            let events = events_of("the body", items)?;
            return Ok(Input { events, settings: Settings::default(), stream_id: None });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(Malformed::Body(
                "the body must be a JSON object with \"data\" or \"events\", or an array"
                    .to_owned(),
            ));
        }
    };
    let mut settings = Settings::default();
    if let Some(sensitivity) = members.get("sensitivity") {
        settings.sensitivity = real("sensitivity", sensitivity, 0.0, 1.0)?;
    }
    if members.get("algorithm").is_some_and(|name| name.as_str() != Some("compression_based")) {
        return Err(Malformed::field("algorithm", "must be \"compression_based\"".to_owned()));
    }
    match members.get("config_override") {
        None | Some(Value::Null) => {}
        Some(Value::Object(overrides)) => settings.apply(overrides)?,
        Some(_) => {
            return Err(Malformed::field("config_override", "must be an object".to_owned()));
        }
    }
    let stream_id = members.remove("stream_id").map(stream_id).transpose()?;
    let events = match (members.remove("data"), members.remove("events")) {
        (Some(data), None) => events_of("data", data)?,
        (None, Some(events @ Value::Array(_))) => events_of("events", events)?,
        (None, Some(_)) => return Err(Malformed::field("events", "must be an array".to_owned())),
        (Some(_), Some(_)) => {
            return Err(Malformed::field("data", "and events exclude each other".to_owned()));
        }
        (None, None) => {
            return Err(Malformed::field("data", "or events is required".to_owned()));
        }
    };
    Ok(Input { events, settings, stream_id })
}

fn stream_id(value: Value) -> Result<String, Malformed> {
    match value {
        Value::String(id) if (1..=STREAM_ID_BYTES_MAX).contains(&id.len()) => Ok(id),
        _other => Err(Malformed::field(
            "stream_id",
            format!("must be a string of 1 to {STREAM_ID_BYTES_MAX} bytes"),
        )),
    }
}

fn events_of(field: &str, data: Value) -> Result<Vec<Event>, Malformed> {
    match data {
        Value::Array(items) => {
            check_count(field, items.len())?;
            Ok(items.into_iter().map(Event::from_json).collect())
        }
        Value::String(text) => {
            let events: Vec<Event> =
                lines(&text).take(EVENTS_MAX + 1).map(Event::from_line).collect();
            check_count(field, events.len())?;
            Ok(events)
        }
        object @ Value::Object(_) => Ok(vec![Event::from_json(object)]),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            Err(Malformed::field(field, "must be an array, an object or a string".to_owned()))
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}

fn check_count(field: &str, count: usize) -> Result<(), Malformed> {
    if count > EVENTS_MAX {
        return Err(Malformed::field(field, format!("may hold at most {EVENTS_MAX} events")));
    }
    Ok(())
}

const STREAM_ID_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str) -> Result<Vec<String>, String> {
        parse_json(body.as_bytes())
            .map(|input| input.events.into_iter().map(|event| event.text).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_documented_form_is_read() {
        assert_eq!(texts(r#"{"data":"a\n\nb\r\n"}"#), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(
            texts(r#"{"data":[1,"x",{"b":1,"a":2}]}"#),
            Ok(vec!["1".into(), "x".into(), r#"{"a":2,"b":1}"#.into()])
        );
        assert_eq!(texts(r#"{"data":{"a":1}}"#), Ok(vec![r#"{"a":1}"#.into()]));
        assert_eq!(texts(r#"{"stream_id":"s","events":["x"]}"#), Ok(vec!["x".into()]));
        assert_eq!(texts(r#"["x"]"#), Ok(vec!["x".into()]));
        assert_eq!(parse_text("a\nb\n").map(|input| input.events.len()), Ok(2));
    }

    #[test]
    fn refusals_name_the_field_and_its_range() {
        for (body, message) in [
            (r#"{}"#, "data or events is required"),
            (r#"{"data":1}"#, "data must be an array, an object or a string"),
            (r#"{"events":"x"}"#, "events must be an array"),
            (r#"{"data":"x","events":[]}"#, "data and events exclude each other"),
            (r#"{"data":"x","sensitivity":2}"#, "sensitivity must be a number from 0 to 1"),
            (r#"{"data":"x","algorithm":"magic"}"#, "algorithm must be \"compression_based\""),
            (r#"{"data":"x","stream_id":""}"#, "stream_id must be a string of 1 to 128 bytes"),
            (r#"{"data":"x","config_override":[]}"#, "config_override must be an object"),
        ] {
            assert_eq!(texts(body), Err(message.to_owned()), "{body}");
        }
        assert!(texts("{").expect_err("cut off").starts_with("the body is not valid JSON"));
        assert!(texts("1").is_err());
    }
}
