use super::*;
use crate::stripe::account::BillingState;
use crate::stripe::apply::{Applied, Customer, Rules, apply};
use crate::stripe::prices::PriceMap;
use crate::stripe::sample::tests::{params, parse};
use crate::stripe::sample::{ApiShape, Life, Start};
use crate::stripe::transition::Transition;

fn disputed() -> Life {
    let mut life = Life::new(params(3, ApiShape::Basil));
    let price = life.params().price.clone();
    life.subscribe(&price, Start::Paid);
    life.dispute();
    life
}

fn clearing() -> Clearing {
    let text = str::to_owned;
    Clearing {
        by: text("admin"),
        reason: text("settled by telephone"),
        request_id: text("req_1"),
        ip: text("192.0.2.1"),
    }
}

fn applied(before: &BillingState, events: &[Event]) -> Applied {
    let customer =
        Customer { id: "cus_1", organization: None, billing_state: before, events, fetched: None };
    let rules =
        Rules { prices: &PriceMap::default(), grace: std::time::Duration::from_secs(86_400) };
    apply(customer, rules).expect("linked")
}

#[test]
fn a_dispute_cleared_by_hand_names_the_operator_in_any_order_of_events() {
    let life = disputed();
    let mut events = parse(life.events());
    let opened = events.last().expect("the dispute").clone();
    let before = applied(&BillingState::default(), &events).billing_state;
    assert_eq!(before.disputes.len(), 1);
    let delivery = clearing().delivery(&opened, life.customer(), life.now()).expect("it has an id");
    let read = Delivery::read(&delivery.body, life.now(), None).expect("an event");
    assert_eq!(read, delivery, "it reads like any of Stripe's");
    events.push(Event::parse(&delivery.body).expect("an event"));
    for _ in 0..events.len() {
        events.rotate_left(1);
        let after = applied(&before, &events);
        assert!(!after.billing_state.disputed && after.billing_state.disputes.is_empty());
        let [Transition::DisputeCleared { dispute, clearing: by }] = &after.transitions[..] else {
            panic!("{:?}", after.transitions)
        };
        assert_eq!((dispute, by), (&before.disputes[0], &clearing()));
        let details = after.transitions[0].details();
        assert_eq!(details, json!({ "dispute": dispute, "reason": "settled by telephone" }));
        assert_eq!(applied(&after.billing_state, &events).transitions, [], "once");
    }
}

#[test]
fn stripes_own_closing_event_counts_instead_of_a_clearing() {
    let mut life = disputed();
    let opened = parse(life.events()).pop().expect("the dispute");
    life.close_dispute();
    let mut events = parse(life.events());
    assert_eq!(cleared(&events).len(), 0);
    let delivery = clearing().delivery(&opened, life.customer(), life.now()).expect("it has an id");
    events.push(Event::parse(&delivery.body).expect("an event"));
    assert_eq!(cleared(&events).len(), 0);
    events.retain(|event| event.id == delivery.event || event.kind != EventKind::DisputeClosed);
    assert_eq!(cleared(&events).len(), 1);
}

#[test]
fn an_event_without_a_dispute_makes_no_clearing() {
    let mut nothing = parse(disputed().events()).pop().expect("an event");
    nothing.object = Value::Null;
    assert_eq!(clearing().delivery(&nothing, "cus_1", Timestamp::default()), None);
}
