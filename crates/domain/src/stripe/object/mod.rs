//! Reads Stripe's objects from JSON: each member at its new path first, then at the old one.
//!
//! Accessors never fail: a member that is missing or of another type is `None`. A reference is an
//! id or, if it was expanded, the object itself.

mod checkout;
mod customer;
mod dispute;
mod invoice;
mod meter_error;
mod subject;
mod subscription;

use serde_json::Value;

use crate::time::Timestamp;

pub use checkout::{CheckoutMode, CheckoutSession};
pub use customer::Customer;
pub use dispute::Dispute;
pub use invoice::{Collection, Invoice, InvoiceStatus};
pub use meter_error::{MeterError, MeterErrorReport};
pub use subject::Subject;
pub(super) use subscription::status;
pub use subscription::{Item, Subscription};

/// An object without a required member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {object} has no `{member}`")]
pub struct MissingMember {
    /// The kind of object.
    pub object: &'static str,
    /// The missing member.
    pub member: &'static str,
}

/// A member that exists and is not `null`.
pub(super) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|found| !found.is_null())
}

/// A nested member.
pub(super) fn path<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().try_fold(value, |value, name| field(value, name))
}

/// A string that is not empty.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    field(value, name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A reference: an id, or the `id` of the expanded object.
pub(super) fn expandable(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| text(value, "id")).filter(|text| !text.is_empty())
}

/// A reference by its member's name.
pub(super) fn reference<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    field(value, name).and_then(expandable)
}

/// A time in whole Unix seconds, in the range that has a text form.
pub(super) fn unix(value: &Value, name: &str) -> Option<Timestamp> {
    let secs = field(value, name)?.as_i64()?;
    (0..=Timestamp::MAX.secs()).contains(&secs).then(|| Timestamp::from_secs(secs))
}

/// A time in whole Unix seconds, or RFC 3339 as in thin events.
pub(super) fn unix_or_text(value: &Value, name: &str) -> Option<Timestamp> {
    match field(value, name)? {
        Value::String(text) => Timestamp::parse(text).ok(),
        _ => unix(value, name),
    }
}

/// The elements of a plain array.
pub(super) fn list_of<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    field(value, name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The elements of a list object (`{"object":"list","data":[…]}`).
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    path(value, &[name, "data"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Puts former values back: objects member by member, everything else as a whole.
pub(super) fn overlay(target: &mut Value, previous: &Value) {
    match (target, previous) {
        (Value::Object(target), Value::Object(previous)) => {
            for (name, former) in previous {
                overlay(target.entry(name.clone()).or_insert(Value::Null), former);
            }
        }
        (target, previous) => *target = previous.clone(),
    }
}

/// Whether `state` has every former value; absent and `null` are the same.
pub(super) fn covers(state: &Value, previous: &Value) -> bool {
    match (state, previous) {
        (Value::Object(state), Value::Object(previous)) => previous
            .iter()
            .all(|(name, former)| covers(state.get(name).unwrap_or(&Value::Null), former)),
        (state, previous) => state == previous,
    }
}

/// An object's id.
pub(super) fn id(value: &Value, object: &'static str) -> Result<String, MissingMember> {
    text(value, "id").map(str::to_owned).ok_or(MissingMember { object, member: "id" })
}

#[cfg(test)]
#[path = "../tests/object.rs"]
mod tests;
