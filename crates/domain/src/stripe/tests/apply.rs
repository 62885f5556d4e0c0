use super::*;
use crate::organization::SubscriptionStatus;
use crate::stripe::sample::{
    ApiShape, Life, LifeParams, SamplePrice, Scenario, Start, duplicate, shuffle,
};
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
    let (billing_state, prices) = (BillingState::default(), PriceMap::default());
    let rules = Rules { prices: &prices, grace: DAY * 7 };
    let customer = Customer {
        id: "cus_1",
        organization: None,
        billing_state: &billing_state,
        events,
        fetched: None,
    };
    apply(customer, rules)
}

#[test]
fn any_order_and_repetition_lead_to_the_same_commit() {
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
    let subscription = &signed_up.purchases.subscriptions[0];
    assert_eq!(
        (&*subscription.plan, &subscription.status),
        ("standard", &SubscriptionStatus::Active)
    );
    let upgraded = applied(&events(Scenario::Upgrade, "price_standard")).expect("linked");
    assert_eq!(upgraded.purchases.subscriptions[0].plan, "growth");
    let ended = applied(&events(Scenario::Cancel, "price_standard")).expect("linked");
    assert_eq!(ended.purchases.subscriptions[0].status, SubscriptionStatus::Canceled);
    assert!(ended.purchases.was_live);
}

#[test]
fn an_unknown_price_is_a_dead_letter_that_names_it() {
    let found = applied(&events(Scenario::Signup, "price_mystery")).expect("linked");
    assert_eq!(found.purchases.subscriptions, [], "never a silent plan");
    assert!(!found.dead.is_empty());
    assert!(found.dead.values().all(|error| error.contains("price_mystery")), "{:?}", found.dead);
}

#[test]
fn a_customer_without_a_link_waits() {
    let mut events = events(Scenario::Signup, "price_standard");
    for event in &mut events {
        let text = event.object.to_string().replace(ORGANIZATION, "");
        event.object = serde_json::from_str(&text).expect("still JSON");
    }
    assert_eq!(applied(&events), Err(Unlinked));
    let (billing_state, prices) = (BillingState::default(), PriceMap::default());
    let rules = Rules { prices: &prices, grace: DAY * 7 };
    let organization = Some(ORGANIZATION.parse().expect("an id"));
    let customer = Customer {
        id: "cus_1",
        organization,
        billing_state: &billing_state,
        events: &events,
        fetched: None,
    };
    assert!(apply(customer, rules).is_ok(), "an operator may link it");
}

fn life_moved_to(upgrade: &str) -> Life {
    let mut life = Scenario::Signup.life(LifeParams {
        seed: 7,
        shape: ApiShape::Basil,
        livemode: false,
        organization: ORGANIZATION.into(),
        customer: None,
        price: SamplePrice { id: "price_standard".into(), cents: 4_900 },
        upgrade: SamplePrice { id: upgrade.into(), cents: 24_900 },
        start: Timestamp::from_secs(1_700_000_000),
    });
    life.wait(DAY);
    let upgrade = life.params().upgrade.clone();
    life.change_price(&upgrade);
    life.wait(DAY);
    life
}

#[test]
fn a_move_to_an_unmapped_price_leaves_the_plan_and_the_status_still_counts() {
    let mut life = life_moved_to("price_mystery");
    let moved = life.events().len();
    life.renew();
    life.wait(DAY);
    life.fail();
    let read = |event: &serde_json::Value| Event::from_value(event.clone()).expect("an event");
    let events: Vec<Event> = life.events().iter().map(read).collect();
    let now = applied(&events).expect("linked");
    let subscription = now.purchases.subscriptions[0].clone();
    assert_eq!(
        (&*subscription.plan, &subscription.status),
        ("standard", &SubscriptionStatus::PastDue)
    );
    assert!(subscription.unpaid_since.is_some());
    assert!(now.dead.values().all(|error| error.contains("price_mystery")), "{:?}", now.dead);
    assert!(!now.dead.is_empty() && now.dead.len() < events.len(), "what named it, and no more");
    for seed in 1..20 {
        let mut other = events.clone();
        shuffle(&mut other, seed);
        assert_eq!(applied(&other).as_ref(), Ok(&now), "seed {seed}");
    }

    // No intermediate step reports a recovery that did not happen.
    let prices = PriceMap::default();
    let rules = Rules { prices: &prices, grace: DAY * 7 };
    let mut billing_state = applied(&events[..moved]).expect("linked").billing_state;
    for known in moved..=events.len() {
        let events = &events[..known];
        let customer = Customer {
            id: "cus_1",
            organization: None,
            billing_state: &billing_state,
            events,
            fetched: None,
        };
        let step = apply(customer, rules).expect("linked");
        assert!(!step.transitions.contains(&Transition::Recovered), "{:?}", step.transitions);
        billing_state = step.billing_state;
    }
    life.cancel();
    let events: Vec<Event> = life.events().iter().map(read).collect();
    let ended = applied(&events).expect("linked").purchases.subscriptions.remove(0);
    assert_eq!((&*ended.plan, ended.status), ("standard", SubscriptionStatus::Canceled));
}

#[test]
fn a_fetched_subscription_with_an_unmapped_price_counts_except_for_its_plan() {
    let life = life_moved_to("price_mystery");
    let read = |event: &serde_json::Value| Event::from_value(event.clone()).expect("an event");
    let signup = life
        .events()
        .iter()
        .map(read)
        .filter(|event| !event.object.to_string().contains("price_mystery"));
    let events: Vec<Event> = signup.collect();
    let subscriptions =
        life.subscriptions().iter().map(|truth| truth.render(ApiShape::Basil)).collect();
    let fetched = Fetched { subscriptions, ..Fetched::default() };
    let (billing_state, prices) = (BillingState::default(), PriceMap::default());
    let rules = Rules { prices: &prices, grace: DAY * 7 };
    let customer = Customer {
        id: "cus_1",
        organization: None,
        billing_state: &billing_state,
        events: &events,
        fetched: Some(&fetched),
    };
    let found = apply(customer, rules).expect("linked");
    assert_eq!(found.purchases.subscriptions[0].plan, "standard");
    assert!(found.dead.is_empty(), "these events named a price that is mapped: {:?}", found.dead);
    assert!(found.problems[0].contains("price_mystery"), "{:?}", found.problems);
}

#[test]
fn only_subscriptions_that_were_never_live_leave_the_own_plan_in_force() {
    let life = |start| {
        let mut life = Life::new(crate::stripe::sample::tests::params(5, ApiShape::Basil));
        let price = life.params().price.clone();
        life.subscribe(&price, start);
        life.checkout();
        life
    };
    let events = |life: &Life| crate::stripe::sample::tests::parse(life.events());
    let lived = |events: &[Event]| super::lived(events, &Fetched::default(), |_| true);
    let mut unpaid = life(Start::Unpaid);
    assert_eq!(lived(&events(&unpaid)), Lived::Never);
    unpaid.cancel();
    assert_eq!(lived(&events(&unpaid)), Lived::Never, "it expired");
    let mut paid = life(Start::Paid);
    assert_eq!(lived(&events(&paid)), Lived::Proven);
    paid.cancel();
    let end = events(&paid).pop().expect("its end");
    assert_eq!(lived(std::slice::from_ref(&end)), Lived::Presumed, "its end alone says so");
    let created = EventKind::SubscriptionCreated;
    let created = events(&paid).into_iter().find(|event| event.kind == created).expect("created");
    assert_eq!(lived(&[end, created]), Lived::Never, "it was waiting for its first payment");
}
