//! Clearing a dispute by hand, if Stripe's event of its end never came or it was resolved in
//! another way.
//!
//! The billing state is computed from the event inbox alone. So clearing a dispute stores an event
//! there that the gateway makes itself; it ends the dispute whatever the order of Stripe's events.
//! Its id is derived from the dispute's, so that a dispute is cleared once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::delivery::{Delivery, DeliveryState};
use super::event::{Event, EventKind};
use crate::time::Timestamp;

/// The longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 500;
/// The member of the event's object that says who cleared it.
const MEMBER: &str = "driftlock_cleared";

/// Who cleared a dispute, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearing {
    /// The audit log's actor.
    pub by: String,
    /// The operator's reason.
    pub reason: String,
    /// The request that asked for it.
    pub request_id: String,
    /// The IP address that the request came from.
    pub ip: String,
}

impl Clearing {
    /// The event that ends a dispute at `now`; `opened` is Stripe's event that opened it.
    #[must_use]
    pub fn delivery(&self, opened: &Event, customer: &str, now: Timestamp) -> Option<Delivery> {
        let dispute = opened.object["id"].as_str()?;
        let mut object = opened.object.clone();
        object["status"] = "cleared".into();
        object[MEMBER] = json!(self);
        let id = format!("driftlock_cleared_{dispute}");
        let kind = EventKind::DisputeClosed.as_str();
        let body = json!({
            "id": id,
            "object": "event",
            "type": kind,
            "created": now.secs(),
            "livemode": opened.livemode,
            "data": { "object": object },
        });
        Some(Delivery {
            event: id,
            kind: kind.to_owned(),
            created: Timestamp::from_secs(now.secs()),
            livemode: opened.livemode,
            customer: Some(customer.to_owned()),
            received_at: now,
            body: body.to_string().into_bytes(),
            state: DeliveryState::Pending,
            note: None,
        })
    }
}

/// The disputes that were cleared by hand, by id. If Stripe's own closing event exists, it counts
/// instead.
#[must_use]
pub fn cleared(events: &[Event]) -> BTreeMap<&str, Clearing> {
    let ends = || {
        let ends = events.iter().filter(|event| event.kind == EventKind::DisputeClosed);
        ends.filter_map(|end| Some((end.object["id"].as_str()?, read(&end.object))))
    };
    let by_hand = ends().filter_map(|(dispute, clearing)| Some((dispute, clearing?)));
    let mut found: BTreeMap<&str, Clearing> = by_hand.collect();
    for (dispute, _) in ends().filter(|(_, clearing)| clearing.is_none()) {
        found.remove(dispute);
    }
    found
}

fn read(object: &Value) -> Option<Clearing> {
    Clearing::deserialize(object.get(MEMBER)?).ok()
}

#[cfg(test)]
#[path = "tests/clearing.rs"]
mod tests;
