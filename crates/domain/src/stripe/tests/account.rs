use super::*;
use crate::stripe::apply::{Fetched, Lived, lived, open_disputes};
use crate::stripe::event::EventKind;
use crate::stripe::invoices;
use crate::stripe::prices::PriceMap;
use crate::stripe::sample::tests::{params, parse};
use crate::stripe::sample::{ApiShape, Life, Start};

const GRACE: Duration = Duration::from_secs(7 * 86_400);

/// The billing state after a life; the tests of `stripe::transition` use it, too.
pub(in crate::stripe) fn billing_state(life: &Life) -> BillingState {
    let states: Vec<SubscriptionState> = life
        .subscriptions()
        .iter()
        .map(|truth| {
            SubscriptionState::from_object(&truth.render(ApiShape::Basil), &PriceMap::default())
                .expect("a plan")
        })
        .collect();
    let events = parse(life.events());
    let invoices: Vec<_> = invoices::fold(&events).into_values().collect();
    let has = |wanted: EventKind| events.iter().any(|event| event.kind == wanted);
    let notices: Vec<String> = events
        .iter()
        .filter(|event| event.kind == EventKind::TrialWillEnd)
        .filter_map(|event| event.subject().subscription().map(str::to_owned))
        .collect();
    let disputes = open_disputes(&events);
    BillingState::of(Account {
        subscriptions: &states,
        invoices: &invoices,
        trial_notices: &notices,
        disputes: &disputes,
        customer_deleted: has(EventKind::CustomerDeleted),
        proven_live: lived(&events, &Fetched::default(), |_| true) == Lived::Proven,
        grace: GRACE,
    })
}

pub(in crate::stripe) fn life(start: Start) -> Life {
    let mut life = Life::new(params(21, ApiShape::Basil));
    let price = life.params().price.clone();
    life.subscribe(&price, start);
    life
}

fn wait(life: &mut Life, secs: u64) {
    life.wait(Duration::from_secs(secs));
}

#[test]
fn the_end_of_an_old_subscription_does_not_end_a_new_one() {
    let mut life = life(Start::Paid);
    life.cancel();
    wait(&mut life, 10);
    let growth = life.params().upgrade.clone();
    life.subscribe(&growth, Start::Paid);
    let billing = billing_state(&life);
    assert_eq!(billing.plan.as_deref(), Some("growth"));
    assert_eq!(billing.status, Some(SubscriptionStatus::Active));
    let mut states: Vec<_> = life
        .subscriptions()
        .iter()
        .map(|truth| truth.render(ApiShape::Y2024))
        .map(|object| {
            SubscriptionState::from_object(&object, &PriceMap::default()).expect("a plan")
        })
        .collect();
    let wanted = states[1].id.clone();
    states.reverse();
    assert_eq!(current(&states).map(|state| &state.id), Some(&wanted));
}

#[test]
fn a_subscription_without_first_payment_does_not_displace_a_paid_one() {
    let mut life = life(Start::Paid);
    wait(&mut life, 10);
    let growth = life.params().upgrade.clone();
    life.subscribe(&growth, Start::Unpaid);
    assert_eq!(billing_state(&life).plan.as_deref(), Some("standard"));
    life.cancel();
    assert_eq!(billing_state(&life).plan.as_deref(), Some("standard"), "nor does its expiry");
}

#[test]
fn without_subscription_the_state_is_empty_and_an_ended_one_stays_visible() {
    let nothing = Life::new(params(1, ApiShape::Basil));
    assert_eq!(billing_state(&nothing), BillingState::default());
    let mut life = life(Start::Paid);
    life.renew();
    life.fail();
    life.cancel();
    let billing = billing_state(&life);
    assert_eq!(billing.status, Some(SubscriptionStatus::Canceled));
    assert_eq!(billing.grace_until, None, "there is no grace after the end");
}

#[test]
fn past_due_has_grace_even_before_the_failure_is_known() {
    let mut life = life(Start::Paid);
    life.renew();
    let began = life.now();
    wait(&mut life, 3_600);
    life.fail();
    let truth = life.subscriptions()[0].render(ApiShape::Basil);
    let state = SubscriptionState::from_object(&truth, &PriceMap::default()).expect("a plan");
    let account = |invoices| Account {
        subscriptions: std::slice::from_ref(&state),
        invoices,
        trial_notices: &[],
        disputes: &[],
        customer_deleted: false,
        proven_live: true,
        grace: GRACE,
    };
    assert_eq!(BillingState::of(account(&[])).grace_until, Some(began.plus(GRACE)));
    assert_eq!(billing_state(&life).grace_until, Some(life.now().plus(GRACE)));
    let kept = account(&[]).purchases("cus_1", true);
    let kept = &kept.subscriptions[0];
    assert_eq!((&kept.status, &*kept.plan), (&SubscriptionStatus::PastDue, "standard"));
    assert_eq!(kept.unpaid_since, Some(began));
}

#[test]
fn an_unpaid_invoice_of_another_subscription_does_not_count() {
    let mut life = life(Start::Paid);
    life.renew();
    life.fail();
    life.cancel();
    wait(&mut life, 10);
    let price = life.params().price.clone();
    life.subscribe(&price, Start::Paid);
    assert_eq!(billing_state(&life).grace_until, None);
}

#[test]
fn a_deleted_customer_has_no_live_subscription() {
    let mut life = life(Start::Paid);
    life.delete_customer();
    let billing = billing_state(&life);
    assert!(billing.customer_deleted);
    assert_eq!(billing.status, Some(SubscriptionStatus::Canceled));
}

#[test]
fn a_second_live_subscription_is_named() {
    let mut life = life(Start::Paid);
    let first = life.subscriptions()[0].id.clone();
    wait(&mut life, 10);
    let growth = life.params().upgrade.clone();
    life.subscribe(&growth, Start::Paid);
    let billing = billing_state(&life);
    assert_eq!(billing.plan.as_deref(), Some("growth"));
    assert_eq!(billing.also_live, [first]);
    life.delete_customer();
    assert_eq!(billing_state(&life).also_live, [""; 0]);
}

#[test]
fn a_service_continues_with_the_next_subscription_unless_there_is_a_gap() {
    for (gap, continues) in [(60, true), (2 * 86_400, false)] {
        let mut life = life(Start::Paid);
        let began = life.now();
        wait(&mut life, 5 * 86_400);
        life.cancel();
        wait(&mut life, gap);
        let again = life.now();
        let price = life.params().price.clone();
        life.subscribe(&price, Start::Paid);
        let states: Vec<SubscriptionState> = life
            .subscriptions()
            .iter()
            .map(|truth| truth.render(ApiShape::Basil))
            .map(|object| SubscriptionState::from_object(&object, &PriceMap::default()))
            .map(|state| state.expect("a plan"))
            .collect();
        let start = current(&states).expect("there is one").service_start(&states);
        assert_eq!(start, Some(if continues { began } else { again }), "{gap} s");
    }
}
