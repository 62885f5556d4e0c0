use super::*;
use crate::organization::SubscriptionStatus;
use crate::stripe::sample::{ApiShape, LifeParams, SamplePrice, Scenario, duplicate, shuffle};
use crate::time::Timestamp;

const ORGANIZATION: &str = "org_01010101010101010101010101010101";
const DAY: Duration = Duration::from_secs(86_400);

fn events(scenario: Scenario, price: &str) -> Vec<Event> {
    let life = scenario.life(LifeParams {
        seed: 7,
        shape: ApiShape::Basil,
        livemode: false,
        organization: ORGANIZATION.into(),
        customer: None,
        price: SamplePrice { id: price.into(), cents: 4_900 },
        upgrade: SamplePrice { id: "price_growth".into(), cents: 24_900 },
        start: Timestamp::from_secs(1_700_000_000),
    });
    let read = |event| Event::from_value(event).expect("an event");
    life.into_events().into_iter().map(read).collect()
}

fn applied(events: &[Event]) -> Result<Applied, Unlinked> {
    let (standing, prices) = (Billing::default(), PriceMap::default());
    let rules = Rules { prices: &prices, grace: DAY * 7 };
    let customer = Customer { organization: None, standing: &standing, events, fetched: None };
    apply(customer, rules, "developer")
}

#[test]
fn any_order_and_repetition_come_to_the_same_commit() {
    for scenario in Scenario::ALL {
        let events = events(scenario, "price_standard");
        let once = applied(&events).expect("linked");
        assert_eq!(once.organization.to_string(), ORGANIZATION);
        for seed in 1..50 {
            let mut other = duplicate(events.clone(), seed);
            shuffle(&mut other, seed);
            assert_eq!(applied(&other).as_ref(), Ok(&once), "{scenario}, seed {seed}");
        }
    }
}

#[test]
fn the_plan_follows_from_the_price() {
    let signed_up = applied(&events(Scenario::Signup, "price_standard")).expect("linked");
    let subscription = signed_up.subscription.expect("there is one");
    assert_eq!(
        (&*subscription.plan, subscription.status),
        ("standard", SubscriptionStatus::Active)
    );
    let upgraded = applied(&events(Scenario::Upgrade, "price_standard")).expect("linked");
    assert_eq!(upgraded.subscription.expect("there is one").plan, "growth");
    let ended = applied(&events(Scenario::Cancel, "price_standard")).expect("linked");
    let ended = ended.subscription.expect("there is one");
    assert_eq!(ended.status, SubscriptionStatus::Canceled);
}

#[test]
fn an_unknown_price_is_a_dead_letter_that_names_it() {
    let found = applied(&events(Scenario::Signup, "price_mystery")).expect("linked");
    assert_eq!(found.subscription, None, "never a silent plan");
    assert!(!found.dead.is_empty());
    assert!(found.dead.values().all(|error| error.contains("price_mystery")), "{:?}", found.dead);
}

#[test]
fn a_customer_whom_nobody_linked_waits() {
    let mut events = events(Scenario::Signup, "price_standard");
    for event in &mut events {
        let text = event.object.to_string().replace(ORGANIZATION, "");
        event.object = serde_json::from_str(&text).expect("still JSON");
    }
    assert_eq!(applied(&events), Err(Unlinked));
    let (standing, prices) = (Billing::default(), PriceMap::default());
    let rules = Rules { prices: &prices, grace: DAY * 7 };
    let organization = Some(ORGANIZATION.parse().expect("an id"));
    let customer = Customer { organization, standing: &standing, events: &events, fetched: None };
    assert!(apply(customer, rules, "developer").is_ok(), "an operator may link it");
}
