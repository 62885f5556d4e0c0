//! The content of an event at its time, from which the event can be rendered in any API version.

use serde_json::{Value, json};

use super::Life;
use crate::stripe::sample::{ApiShape, SampleInvoice, SampleSubscription, envelope};

/// See the module.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Subscription {
        before: Option<Box<SampleSubscription>>,
        after: Box<SampleSubscription>,
    },
    Invoice(Box<SampleInvoice>),
    /// An object that is the same in every version.
    Object(Value),
    /// A thin event, which has no object and no version.
    Thin,
}

impl Content {
    pub(super) fn subscription(after: SampleSubscription) -> Self {
        Self::Subscription { before: None, after: Box::new(after) }
    }

    pub(super) fn changed(before: SampleSubscription, after: SampleSubscription) -> Self {
        Self::Subscription { before: Some(Box::new(before)), after: Box::new(after) }
    }

    pub(super) fn invoice(invoice: SampleInvoice) -> Self {
        Self::Invoice(Box::new(invoice))
    }

    /// The object in this version's shape, and its `previous_attributes`.
    pub(super) fn render(&self, shape: ApiShape) -> (Value, Option<Value>) {
        match self {
            Self::Subscription { before, after } => {
                let after = after.render(shape);
                let previous = before.as_ref().and_then(|before| {
                    let before = before.render(shape);
                    envelope::difference(&before, &after)
                });
                (after, previous)
            }
            Self::Invoice(invoice) => (invoice.render(shape), None),
            Self::Object(object) => (object.clone(), None),
            Self::Thin => (Value::Null, None),
        }
    }
}

impl Life {
    /// The event at an index in this version's shape; its id and time are the same for every
    /// endpoint.
    #[must_use]
    pub fn event_at(&self, place: usize, shape: ApiShape) -> Option<Value> {
        let (mut event, contents) = (self.events.get(place)?.clone(), self.contents.get(place)?);
        if matches!(contents, Content::Thin) {
            return Some(event);
        }
        let (object, previous) = contents.render(shape);
        event["api_version"] = shape.as_str().into();
        event["data"] = json!({ "object": object });
        if let Some(previous) = previous {
            event["data"]["previous_attributes"] = previous;
        }
        Some(event)
    }
}
