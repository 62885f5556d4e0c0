//! The double's meter: identifiers are unique for 24 hours, times must lie near now, and sums cover
//! whole minutes.

use std::collections::HashMap;
use std::time::Duration;

use driftlock_domain::period::Period;
use driftlock_domain::time::Timestamp;
use serde_json::{Value, json};

use super::METER_EVENT_NAME;
use super::answer::Refused;

pub(super) const METER: &str = "mtr_test_driftlock";
const IDENTIFIER_LIFE: Duration = Duration::from_secs(86_400);
const PAST_MAX: Duration = Duration::from_secs(35 * 86_400);
const FUTURE_MAX: Duration = Duration::from_secs(300);
const IDENTIFIER_CHARS_MAX: usize = 100;

/// An accepted meter event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterEvent {
    /// Its identifier.
    pub identifier: String,
    /// The customer.
    pub customer: String,
    /// Units; negative in a correction.
    pub value: i64,
    /// Its time.
    pub timestamp: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Meter {
    events: Vec<MeterEvent>,
    identifiers: HashMap<String, Timestamp>,
}

impl Meter {
    pub(super) fn events(&self) -> &[MeterEvent] {
        &self.events
    }

    pub(super) fn sum(&self, customer: &str, period: Period) -> i64 {
        let own =
            |event: &&MeterEvent| event.customer == customer && period.contains(event.timestamp);
        self.events.iter().filter(own).map(|event| event.value).sum()
    }

    /// `POST /v1/billing/meter_events`
    pub(super) fn take(
        &mut self,
        form: &HashMap<String, String>,
        now: Timestamp,
    ) -> Result<Value, Refused> {
        let field = |name: &str| form.get(name).ok_or_else(|| Refused::missing(name));
        let name = field("event_name")?;
        if name != METER_EVENT_NAME {
            return Err(Refused::bad(format!("No active meter found for event name {name}.")));
        }
        let (identifier, customer) = (field("identifier")?, field("payload[stripe_customer_id]")?);
        if identifier.len() > IDENTIFIER_CHARS_MAX {
            return Err(Refused::bad("Invalid identifier: at most 100 characters.".into()));
        }
        let value: i64 = field("payload[value]")?
            .parse()
            .map_err(|_| Refused::bad("Invalid value: a whole number.".into()))?;
        let secs: i64 = field("timestamp")?
            .parse()
            .map_err(|_| Refused::bad("Invalid timestamp: must be an integer".into()))?;
        let timestamp = Timestamp::from_secs(secs);
        if timestamp < now.minus(PAST_MAX) || timestamp > now.plus(FUTURE_MAX) {
            let text = "The timestamp must be within the past 35 calendar days or up to 5 minutes \
                        in the future.";
            return Err(Refused::bad(text.into()));
        }
        let known = self.identifiers.get(identifier);
        if known.is_some_and(|taken| now < taken.plus(IDENTIFIER_LIFE)) {
            let text = format!("An event already exists with identifier {identifier}.");
            return Err(Refused::bad(text));
        }
        self.identifiers.insert(identifier.clone(), now);
        self.events.push(MeterEvent {
            identifier: identifier.clone(),
            customer: customer.clone(),
            value,
            timestamp,
        });
        Ok(json!({
            "object": "billing.meter_event",
            "created": now.secs(),
            "event_name": METER_EVENT_NAME,
            "identifier": identifier,
            "livemode": false,
            "payload": { "stripe_customer_id": customer, "value": value.to_string() },
            "timestamp": secs,
        }))
    }

    /// `GET /v1/billing/meters/{id}/event_summaries`
    pub(super) fn summaries(&self, query: &HashMap<String, String>) -> Result<Value, Refused> {
        let time = |name: &str| {
            let text = query.get(name).ok_or_else(|| Refused::missing(name))?;
            let secs = text.parse::<i64>().ok().filter(|secs| secs % 60 == 0);
            let secs = secs.ok_or_else(|| {
                Refused::bad(format!("`{name}` must be aligned with minute boundaries"))
            })?;
            Ok(Timestamp::from_secs(secs))
        };
        let customer = query.get("customer").ok_or_else(|| Refused::missing("customer"))?;
        let period = Period { start: time("start_time")?, end: time("end_time")? };
        if period.start >= period.end {
            return Err(Refused::bad("`start_time` must be before `end_time`".into()));
        }
        let sum = self.sum(customer, period);
        let rows = [json!({
            "id": "mtrusg_test_1",
            "object": "billing.meter_event_summary",
            "aggregated_value": sum,
            "end_time": period.end.secs(),
            "livemode": false,
            "meter": METER,
            "start_time": period.start.secs(),
        })];
        let rows = if sum == 0 { &rows[..0] } else { &rows[..] };
        Ok(super::answer::list("/v1/billing/meters/event_summaries", rows.to_vec()))
    }
}

/// The meter as an object.
pub(super) fn object() -> Value {
    json!({
        "id": METER,
        "object": "billing.meter",
        "created": 1_700_000_000,
        "customer_mapping": { "event_payload_key": "stripe_customer_id", "type": "by_id" },
        "default_aggregation": { "formula": "sum" },
        "display_name": "DriftLock units",
        "event_name": METER_EVENT_NAME,
        "event_time_window": null,
        "livemode": false,
        "status": "active",
        "status_transitions": { "deactivated_at": null },
        "updated": 1_700_000_000,
        "value_settings": { "event_payload_key": "value" },
    })
}
