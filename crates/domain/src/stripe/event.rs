//! Reads the envelope of an event from raw bytes, tolerantly.
//!
//! Only an id, a type and a time are required. Everything else is optional and every enum open,
//! since an endpoint may have any API version and Stripe adds members. A *thin* event
//! (`v2.core.event`) names its object instead of containing it.

mod kind;

use serde_json::Value;

use super::object::{self, expandable, field, text, unix};
use crate::time::Timestamp;

pub use kind::EventKind;

/// The longest accepted event id, in characters.
pub const EVENT_ID_CHARS_MAX: usize = 255;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An event as Stripe sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id, `evt_…`. A second delivery with the same id is a duplicate.
    pub id: String,
    /// What happened.
    pub kind: EventKind,
    /// When it happened, in whole seconds; Stripe does not deliver in this order.
    pub created: Timestamp,
    /// Whether it concerns real money; `None` if the event does not say.
    pub livemode: Option<bool>,
    /// The API version of its shape.
    pub api_version: Option<String>,
    /// The connected account that it happened in.
    pub account: Option<String>,
    /// The API request that caused it (a string before 2017-05-25, an object since).
    pub request: Option<String>,
    /// Whether it contains its object or only names it.
    pub form: EventForm,
    /// The object after the change, or a thin event's `data`; `Null` when there is none.
    pub object: Value,
    /// What the change replaced: only the members that changed, with their former values.
    pub previous: Option<Value>,
}

/// Whether an event contains its object or only names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventForm {
    /// A snapshot, `object: "event"`.
    Snapshot,
    /// A thin event, `object: "v2.core.event"`.
    Thin {
        /// The id of the object that it is about.
        related: Option<String>,
        /// That object's type, such as `billing.meter`.
        related_type: Option<String>,
    },
}

/// Why bytes are not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEvent {
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// `object` names another kind of object.
    #[error("`object` is {0:?}, neither event nor v2.core.event")]
    NotAnEvent(String),
    /// A required member is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A member is malformed.
    #[error("`{member}` is not {expected}")]
    Malformed {
        /// Which member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl Event {
    /// Reads an event from the body of a delivery.
    ///
    /// # Errors
    /// [`MalformedEvent`] names what is missing or malformed.
    pub fn parse(body: &[u8]) -> Result<Self, MalformedEvent> {
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| MalformedEvent::NotJson(error.to_string()))?;
        Self::from_value(value)
    }

    /// Reads an event from JSON that is parsed already.
    ///
    /// # Errors
    /// [`MalformedEvent`] names what is missing or malformed.
    pub fn from_value(mut value: Value) -> Result<Self, MalformedEvent> {
        if !value.is_object() {
            return Err(MalformedEvent::NotAnObject);
        }
        let form = form(&value)?;
        let id = required_text(&value, "id", "a string of 1 to 255 characters")?;
        if id.chars().count() > EVENT_ID_CHARS_MAX {
            return Err(malformed("id", "a string of 1 to 255 characters"));
        }
        let kind = EventKind::from(required_text(&value, "type", "a string")?.as_str());
        let created = created(&value)?;
        let livemode = value.get("livemode").and_then(Value::as_bool);
        let [api_version, account] =
            ["api_version", "account"].map(|name| text(&value, name).map(str::to_owned));
        let request = field(&value, "request").and_then(expandable).map(str::to_owned);
        let data = value.get_mut("data").map(Value::take).unwrap_or_default();
        let (object, previous) = match form {
            EventForm::Snapshot => snapshot(data),
            EventForm::Thin { .. } => (data, None),
        };
        Ok(Self {
            id,
            kind,
            created,
            livemode,
            api_version,
            account,
            request,
            form,
            object,
            previous,
        })
    }

    /// Whether its mode is not the one whose events have an effect.
    #[must_use]
    pub fn is_of_other_mode(&self, wanted: Option<bool>) -> bool {
        is_of_other_mode(self.livemode, wanted)
    }

    /// What the event is about.
    #[must_use]
    pub fn subject(&self) -> object::Subject {
        object::Subject::of(self)
    }

    /// The object as it was before the change: the present one with the former values put back.
    #[must_use]
    pub fn before(&self) -> Option<Value> {
        self.previous.as_ref().map(|previous| {
            let mut before = self.object.clone();
            object::overlay(&mut before, previous);
            before
        })
    }
}

/// Whether an event's mode differs from the configured one. If either is unknown, it does not.
#[must_use]
pub fn is_of_other_mode(livemode: Option<bool>, wanted: Option<bool>) -> bool {
    matches!((livemode, wanted), (Some(of), Some(wanted)) if of != wanted)
}

fn form(value: &Value) -> Result<EventForm, MalformedEvent> {
    match text(value, "object") {
        Some("event") | None => Ok(EventForm::Snapshot),
        Some("v2.core.event") => {
            let related = value.get("related_object");
            let part = |name| related.and_then(|related| text(related, name)).map(str::to_owned);
            Ok(EventForm::Thin { related: part("id"), related_type: part("type") })
        }
        Some(other) => Err(MalformedEvent::NotAnEvent(other.chars().take(64).collect())),
    }
}

/// A snapshot's time is in Unix seconds, a thin event's in RFC 3339.
fn created(value: &Value) -> Result<Timestamp, MalformedEvent> {
    let expected = "a time in Unix seconds, or RFC 3339 in a thin event";
    match field(value, "created") {
        None => Err(MalformedEvent::Missing("created")),
        Some(Value::String(text)) => {
            Timestamp::parse(text).map_err(|_| malformed("created", expected))
        }
        Some(_) => unix(value, "created").ok_or_else(|| malformed("created", expected)),
    }
}

fn snapshot(mut data: Value) -> (Value, Option<Value>) {
    let object = data.get_mut("object").map(Value::take).unwrap_or_default();
    let previous = data.get_mut("previous_attributes").map(Value::take);
    (object, previous.filter(Value::is_object))
}

fn required_text(
    value: &Value,
    member: &'static str,
    expected: &'static str,
) -> Result<String, MalformedEvent> {
    match field(value, member) {
        None => Err(MalformedEvent::Missing(member)),
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(_) => Err(malformed(member, expected)),
    }
}

const fn malformed(member: &'static str, expected: &'static str) -> MalformedEvent {
    MalformedEvent::Malformed { member, expected }
}

#[cfg(test)]
#[path = "tests/event.rs"]
mod tests;
