//! Random lives: events in any order and with any repetition lead to the true state.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::event::Event;
use super::expendable;
use super::fold::fold;
use super::invoices::{self, unpaid_since};
use super::prices::PriceMap;
use super::sample::tests::{params, parse};
use super::sample::{ApiShape, Life, SampleInvoice, Start, duplicate, shuffle};
use super::subscription::SubscriptionState;

/// Random lives, each in [`ORDERS`] orders.
const LIVES: u32 = 2_000;
const ORDERS: u64 = 5;

#[derive(Debug, Clone, Copy)]
enum Deed {
    Subscribe(Start),
    Upgrade,
    Downgrade,
    Renew,
    Pay,
    Fail,
    GiveUp,
    Void,
    WriteOff,
    Pause,
    Resume,
    Schedule,
    Withdraw,
    Announce,
    Cancel,
    Checkout,
    Dispute,
    /// The endpoint is set to another version.
    Shape(ApiShape),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => prop_oneof![Just(Start::Paid), Just(Start::Unpaid), Just(Start::Trial(14))]
            .prop_map(Deed::Subscribe),
        3 => Just(Deed::Upgrade),
        3 => Just(Deed::Downgrade),
        3 => Just(Deed::Renew),
        4 => Just(Deed::Pay),
        4 => Just(Deed::Fail),
        1 => Just(Deed::GiveUp),
        1 => Just(Deed::Void),
        1 => Just(Deed::WriteOff),
        2 => Just(Deed::Pause),
        2 => Just(Deed::Resume),
        2 => Just(Deed::Schedule),
        2 => Just(Deed::Withdraw),
        1 => Just(Deed::Announce),
        1 => Just(Deed::Cancel),
        1 => Just(Deed::Checkout),
        1 => Just(Deed::Dispute),
        1 => proptest::sample::select(ApiShape::ALL.to_vec()).prop_map(Deed::Shape),
    ]
}

fn live(seed: u64, deeds: &[(Deed, u64)]) -> Life {
    let mut life = Life::new(params(seed, ApiShape::Basil));
    let (standard, growth) = (life.params().price.clone(), life.params().upgrade.clone());
    life.subscribe(&standard, Start::Paid);
    for (deed, secs) in deeds {
        life.wait(Duration::from_secs(*secs));
        match *deed {
            Deed::Subscribe(start) => {
                life.cancel();
                life.subscribe(&standard, start);
            }
            Deed::Upgrade => life.change_price(&growth),
            Deed::Downgrade => life.change_price(&standard),
            Deed::Renew => life.renew(),
            Deed::Pay => life.pay(),
            Deed::Fail => life.fail(),
            Deed::GiveUp => life.give_up(),
            Deed::Void => life.void(),
            Deed::WriteOff => life.write_off(),
            Deed::Pause => life.pause(),
            Deed::Resume => life.resume(),
            Deed::Schedule => life.schedule_cancellation(),
            Deed::Withdraw => life.withdraw_cancellation(),
            Deed::Announce => life.announce_trial_end(),
            Deed::Cancel => life.cancel(),
            Deed::Checkout => life.checkout(),
            Deed::Dispute => life.dispute(),
            Deed::Shape(shape) => life.set_shape(shape),
        }
    }
    life
}

fn arrivals(events: &[Event], seed: u64) -> Vec<Event> {
    let mut delivered = duplicate(events.to_vec(), seed);
    shuffle(&mut delivered, seed);
    delivered
}

fn check(seed: u64, deeds: &[(Deed, u64)]) -> Result<(), TestCaseError> {
    let life = live(seed, deeds);
    let prices = PriceMap::default();
    let happened = parse(life.events());
    for order in 0..ORDERS {
        let events = arrivals(&happened, seed ^ order);
        for truth in life.subscriptions() {
            let shape = ApiShape::ALL[usize::try_from(order).unwrap_or(0) % ApiShape::ALL.len()];
            let fetched = SubscriptionState::from_object(&truth.render(shape), &prices);
            let folded = fold(&truth.id, &events, &prices);
            prop_assert_eq!(folded, fetched.map(Some), "offline as online, in {}", shape);
        }
        let mirrored = invoices::fold(&events);
        prop_assert_eq!(mirrored.len(), life.invoices().len());
        for truth in life.invoices() {
            let mirror = &mirrored[&truth.id];
            let status = serde_json::to_value(&mirror.status).expect("text");
            prop_assert_eq!(status.as_str(), Some(truth.status.as_str()));
            prop_assert_eq!(mirror.first_failure_at, truth.first_failure_at);
            prop_assert_eq!(mirror.attempt_count, truth.attempt_count);
        }
        let unpaid = |invoice: &&SampleInvoice| invoice.status == "open";
        let first =
            life.invoices().iter().filter(unpaid).filter_map(|of| of.first_failure_at).min();
        prop_assert_eq!(unpaid_since(mirrored.values()), first);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: LIVES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_any_duplication_come_to_the_truth(
        seed: u64,
        deeds in vec((deed(), prop_oneof![2 => Just(0_u64), 1 => 1..3_u64, 1 => 1..3_000_000_u64]), 0..18),
    ) {
        check(seed, &deeds)?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: LIVES / 5, failure_persistence: None, ..ProptestConfig::default() })]

    /// If events are lost, the result still does not depend on the order of arrival.
    #[test]
    fn with_events_missing_the_order_of_arrival_still_does_not_matter(
        seed: u64,
        deeds in vec((deed(), 0..2_u64), 0..16),
        kept in vec(any::<bool>(), 64),
    ) {
        let life = live(seed, &deeds);
        let received: Vec<Value> = life
            .events()
            .iter()
            .zip(kept.iter().cycle())
            .filter(|(_, kept)| **kept)
            .map(|(event, _)| event.clone())
            .collect();
        let received = parse(&received);
        let prices = PriceMap::default();
        for truth in life.subscriptions() {
            let states: Vec<_> = (0..ORDERS)
                .map(|order| fold(&truth.id, &arrivals(&received, seed ^ order), &prices))
                .collect();
            prop_assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: LIVES / 5, failure_persistence: None, ..ProptestConfig::default() })]

    /// Deleted events are not missed, and have no effect when they are delivered again.
    #[test]
    fn what_is_expendable_is_not_missed_and_changes_nothing_when_it_comes_again(
        seed: u64,
        deeds in vec((deed(), prop_oneof![1 => Just(0_u64), 1 => 1..3_u64, 1 => 1..3_000_000_u64]), 0..18),
        part in 0..18_usize,
    ) {
        let part = part.min(deeds.len());
        let mut pause = deeds.clone();
        // Later events have a later time.
        if let Some((_, secs)) = pause.get_mut(part) {
            *secs += 7_200;
        }
        let so_far = live(seed, &pause[..part]).events().len();
        let events = parse(live(seed, &pause).events());
        let (early, late) = events.split_at(so_far);
        expendable::tests::check(early, late, seed).map_err(TestCaseError::fail)?;
    }
}
