use serde_json::json;

use super::*;

fn read(value: &Value) -> Result<Event, MalformedEvent> {
    Event::parse(value.to_string().as_bytes())
}

fn whole() -> Value {
    json!({
        "id": "evt_1", "object": "event", "type": "customer.subscription.updated",
        "created": 1_700_000_000, "livemode": false, "api_version": "2024-06-20",
        "request": { "id": "req_1", "idempotency_key": null }, "account": "acct_1",
        "data": { "object": { "id": "sub_1", "status": "active", "metadata": { "a": "2" } },
                  "previous_attributes": { "status": "incomplete", "metadata": { "a": null } } }
    })
}

#[test]
fn every_member_is_read() {
    let event = read(&whole()).expect("an event");
    assert_eq!(event.kind, EventKind::SubscriptionUpdated);
    assert_eq!(event.created, Timestamp::from_secs(1_700_000_000));
    assert_eq!((event.livemode, event.api_version.as_deref()), (Some(false), Some("2024-06-20")));
    assert_eq!(
        (event.request.as_deref(), event.account.as_deref()),
        (Some("req_1"), Some("acct_1"))
    );
    let before = event.before().expect("a former state");
    assert_eq!(before["status"], "incomplete");
    assert_eq!(before["metadata"]["a"], Value::Null);
    assert_eq!(event.subject().subscription(), Some("sub_1"));
}

#[test]
fn old_events_have_a_string_for_request() {
    let mut event = whole();
    event["request"] = json!("req_old");
    assert_eq!(read(&event).expect("an event").request.as_deref(), Some("req_old"));
    event["request"] = Value::Null;
    event["data"]["object"] = Value::Null;
    let event = read(&event).expect("an event");
    assert_eq!((event.request, event.object), (None, Value::Null));
}

#[test]
fn a_byte_order_mark_is_ignored() {
    let mut body = BYTE_ORDER_MARK.to_vec();
    body.extend(whole().to_string().into_bytes());
    assert!(Event::parse(&body).is_ok());
}

#[test]
fn a_thin_event_names_its_object() {
    let event = read(&json!({
        "id": "evt_2", "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "created": "2026-03-05T10:00:00.250Z", "livemode": true,
        "related_object": { "id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1" },
        "data": { "developer_message_summary": "2 invalid",
                  "reason": { "error_count": 2, "error_types": [{ "code": "no_meter", "error_count": 2,
                      "sample_errors": [{ "error_message": "m", "request": { "identifier": "i1" } }] }] } }
    }))
    .expect("an event");
    assert_eq!(event.created, Timestamp::parse("2026-03-05T10:00:00.25Z").expect("valid"));
    let Subject::MeterErrors(report) = event.subject() else { panic!("a report") };
    assert_eq!((report.meter.as_deref(), report.error_count), (Some("mtr_1"), 2));
    assert_eq!(report.errors[0].identifiers, ["i1"]);
}

#[test]
fn what_is_missing_is_named() {
    for (member, expected) in [
        ("id", MalformedEvent::Missing("id")),
        ("type", MalformedEvent::Missing("type")),
        ("created", MalformedEvent::Missing("created")),
    ] {
        let mut event = whole();
        event.as_object_mut().expect("an object").remove(member);
        assert_eq!(read(&event), Err(expected.clone()));
        assert!(expected.to_string().contains(member));
    }
    for (member, value) in [
        ("id", json!("")),
        ("id", json!(7)),
        ("id", json!("x".repeat(256))),
        ("created", json!("now")),
        ("created", json!(1.5)),
        ("type", json!(["x"])),
    ] {
        let mut event = whole();
        event[member] = value;
        assert!(matches!(read(&event), Err(MalformedEvent::Malformed { .. })), "{member}");
    }
    assert_eq!(read(&json!([])), Err(MalformedEvent::NotAnObject));
    assert_eq!(
        read(&json!({ "object": "charge" })),
        Err(MalformedEvent::NotAnEvent("charge".into()))
    );
    assert!(matches!(Event::parse(b"\xff"), Err(MalformedEvent::NotJson(_))));
    assert!(matches!(
        Event::parse("[".repeat(100_000).as_bytes()),
        Err(MalformedEvent::NotJson(_))
    ));
}

#[test]
fn an_upcoming_invoice_has_an_event_id_and_no_id_of_its_own() {
    let mut event = whole();
    event["type"] = json!("invoice.upcoming");
    event["data"] = json!({ "object": { "object": "invoice", "subscription": "sub_1" } });
    let event = read(&event).expect("an event");
    assert_eq!(event.kind, EventKind::Other("invoice.upcoming".into()));
    assert!(!event.kind.is_handled());
    assert_eq!(event.subject(), Subject::Nothing);
}

#[test]
fn a_handled_event_without_its_object_is_unreadable_and_says_so() {
    let mut event = whole();
    event["data"] = json!({});
    let Subject::Unreadable(missing) = read(&event).expect("an event").subject() else {
        panic!("unreadable")
    };
    assert_eq!(missing.to_string(), "the subscription has no `id`");
}

use crate::stripe::object::Subject;

#[test]
fn only_the_wanted_mode_has_an_effect_and_a_report_of_meter_errors_is_looked_up() {
    use crate::stripe::delivery::{Delivery, DeliveryState};
    let now = Timestamp::from_secs(1_800_000_000);
    let mut event = json!({
        "id": "evt_2", "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "created": "2026-03-05T10:00:00.250Z", "livemode": false,
        "related_object": { "id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1" },
    });
    let state = |event: &serde_json::Value, wanted| {
        let body = event.to_string().into_bytes();
        Delivery::read(&body, now, wanted).expect("an event").state
    };
    for (wanted, expected) in [
        (None, DeliveryState::Pending),
        (Some(false), DeliveryState::Pending),
        (Some(true), DeliveryState::Ignored),
    ] {
        assert_eq!(state(&event, wanted), expected, "{wanted:?}");
    }
    event.as_object_mut().expect("an object").remove("livemode");
    assert_eq!(state(&event, Some(true)), DeliveryState::Pending, "it does not say");
}
