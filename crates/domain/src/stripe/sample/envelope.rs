//! The envelopes of sample events, and their `previous_attributes`.

use serde_json::{Map, Value, json};

use super::ApiShape;
use crate::stripe::event::EventKind;
use crate::time::Timestamp;

/// A snapshot event about `object` as it is now.
#[must_use]
pub fn snapshot(
    id: &str,
    kind: &EventKind,
    created: Timestamp,
    shape: ApiShape,
    object: &Value,
    previous: Option<Value>,
) -> Value {
    let mut data = json!({ "object": object });
    if let Some(previous) = previous {
        data["previous_attributes"] = previous;
    }
    json!({
        "id": id,
        "object": "event",
        "account": null,
        "api_version": shape.as_str(),
        "created": created.secs(),
        "data": data,
        "livemode": object.get("livemode").cloned().unwrap_or(Value::Bool(false)),
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": kind.as_str(),
    })
}

/// A thin event as it is delivered: it names its object and has no data.
#[must_use]
pub fn thin(
    id: &str,
    kind: &EventKind,
    created: Timestamp,
    related: (&str, &str),
    livemode: bool,
) -> Value {
    let (related_type, related_id) = related;
    json!({
        "id": id,
        "object": "v2.core.event",
        "type": kind.as_str(),
        "context": null,
        "created": created.to_string(),
        "livemode": livemode,
        "reason": null,
        "related_object": {
            "id": related_id,
            "type": related_type,
            "url": format!("/v1/billing/meters/{related_id}"),
        },
    })
}

/// A thin event as Stripe answers when it is fetched: with its data.
#[must_use]
pub fn fetched(thin: &Value, data: Value) -> Value {
    let mut event = thin.clone();
    event["data"] = data;
    event
}

/// `previous_attributes`: the former value of each member that changed; nested objects have only
/// their changed members. `None` if nothing changed.
#[must_use]
pub fn difference(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return (before != after).then(|| before.clone());
    };
    let mut former = Map::new();
    for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
        let was = before.get(name).unwrap_or(&Value::Null);
        let is = after.get(name).unwrap_or(&Value::Null);
        if let Some(changed) = difference(was, is) {
            former.insert(name.clone(), changed);
        }
    }
    (!former.is_empty()).then_some(Value::Object(former))
}
