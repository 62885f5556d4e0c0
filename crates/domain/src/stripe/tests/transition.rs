use std::time::Duration;

use super::*;
use crate::stripe::account::tests::{billing_state, life};
use crate::stripe::sample::{Life, Start};

/// The changes that `deed` causes, as actions of the audit log.
fn changes(life: &mut Life, deed: impl FnOnce(&mut Life)) -> Vec<&'static str> {
    let before = billing_state(life);
    deed(life);
    transitions(&before, &billing_state(life)).iter().map(Transition::action).collect()
}

#[test]
fn each_step_of_a_life_is_one_change() {
    let mut own = life(Start::Paid);
    let growth = own.params().upgrade.clone();
    let first = transitions(&BillingState::default(), &billing_state(&own));
    assert!(
        matches!(&first[..], [Transition::Subscribed { plan: Some(plan), .. }] if plan == "standard")
    );
    assert_eq!(changes(&mut own, |life| life.change_price(&growth)), ["billing.plan_changed"]);
    assert_eq!(changes(&mut own, Life::renew), ["billing.renewed"]);
    assert_eq!(changes(&mut own, Life::fail), ["billing.payment_failed"]);
    assert_eq!(changes(&mut own, Life::fail), [""; 0], "a retry is no news");
    assert_eq!(changes(&mut own, Life::pay), ["billing.recovered"]);
    assert_eq!(changes(&mut own, Life::schedule_cancellation), ["billing.cancellation_scheduled"]);
    assert_eq!(changes(&mut own, Life::withdraw_cancellation), ["billing.cancellation_withdrawn"]);
    assert_eq!(changes(&mut own, Life::dispute), ["billing.disputed"]);
    assert_eq!(changes(&mut own, Life::pause), ["billing.paused"]);
    assert_eq!(changes(&mut own, Life::resume), ["billing.resumed"]);
    assert_eq!(changes(&mut own, Life::cancel), ["billing.cancelled"]);
    own.wait(Duration::from_secs(1));
    let again = changes(&mut own, |life| life.subscribe(&growth, Start::Paid));
    assert_eq!(again, ["billing.subscribed"]);
}

#[test]
fn trials_first_payments_and_giving_up_have_names() {
    let mut trial = life(Start::Trial(14));
    assert_eq!(changes(&mut trial, Life::announce_trial_end), ["billing.trial_ending"]);
    assert_eq!(changes(&mut trial, Life::renew), ["billing.trial_ended", "billing.renewed"]);
    let mut unpaid = life(Start::Unpaid);
    assert_eq!(changes(&mut unpaid, Life::pay), ["billing.activated", "billing.recovered"]);
    let mut expired = life(Start::Unpaid);
    assert_eq!(changes(&mut expired, Life::cancel), ["billing.expired"]);
    let mut lost = life(Start::Paid);
    lost.renew();
    lost.fail();
    assert_eq!(changes(&mut lost, Life::give_up), ["billing.given_up"]);
    let gone = changes(&mut lost, Life::delete_customer);
    assert_eq!(gone, ["billing.cancelled", "billing.customer_deleted"]);
}

#[test]
fn an_unchanged_state_has_no_changes_and_details_are_the_members() {
    let billing_state = billing_state(&life(Start::Paid));
    assert_eq!(transitions(&billing_state, &billing_state), []);
    let change =
        Transition::PlanChanged { from: Some("standard".into()), to: Some("growth".into()) };
    assert_eq!(change.details(), serde_json::json!({ "from": "standard", "to": "growth" }));
    let failed = Transition::PaymentFailed { grace_until: Timestamp::from_secs(0) };
    assert_eq!(failed.details()["grace_until"], "1970-01-01T00:00:00Z");
    assert_eq!(Transition::Paused.details(), serde_json::json!({}));
}

#[test]
fn each_dispute_is_a_change_and_so_is_its_end() {
    let mut own = life(Start::Paid);
    let alerts = |before: &BillingState, life: &Life| -> Vec<(AlertKind, String)> {
        transitions(before, &billing_state(life))
            .iter()
            .filter_map(|one| one.alert("sub_1"))
            .collect()
    };
    let before = billing_state(&own);
    own.dispute();
    let first = alerts(&before, &own);
    let between = billing_state(&own);
    own.dispute();
    let second = alerts(&between, &own);
    assert_eq!((first.len(), second.len()), (1, 1), "a second dispute is another alert");
    assert_ne!(first, second);
    assert_eq!(changes(&mut own, Life::close_dispute), ["billing.dispute_closed"]);
    assert!(billing_state(&own).disputed, "the first is still open");
}
