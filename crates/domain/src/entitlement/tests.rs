use super::*;
use crate::id::OrganizationId;
use crate::ledger_host::LedgerHost;
use crate::organization::{Contract, SubscriptionStatus};
use crate::purchases::{PurchasedSubscription, Purchases};
use crate::quota::QuotaOverride;

use SubscriptionStatus as Status;

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

/// An organization on the plan `developer`, which is free.
fn free() -> Organization {
    Organization {
        id: OrganizationId::from_bytes([1; 16]),
        name: "Acme".into(),
        plan: "developer".into(),
        status: OrganizationStatus::Active,
        quota: QuotaOverride::default(),
        requests_per_minute: None,
        stripe_customer_id: Some("cus_1".into()),
        contract: None,
        purchases: None,
        created_at: now(),
        ledger: LedgerHost::default(),
    }
}

fn contract(status: Status) -> Contract {
    Contract {
        id: "contract-1".into(),
        status,
        plan: "enterprise".into(),
        period: Period { start: now().minus(DAY * 10), end: now().plus(DAY * 20) },
        cancel_at: None,
        grace_until: None,
    }
}

/// A subscription that was created this many days ago.
fn sold(id: &str, plan: &str, status: Status, days_ago: u32) -> PurchasedSubscription {
    let created = now().minus(DAY * days_ago);
    PurchasedSubscription {
        id: id.into(),
        status,
        plan: plan.into(),
        quantity: 1,
        period: Period { start: now().minus(DAY * 3), end: now().plus(DAY * 27) },
        interval_months: Some(1),
        anchor: Some(created),
        created,
        cancel_at: None,
        unpaid_since: None,
        started_at: Some(created),
        ended_at: None,
    }
}

fn bought(subscriptions: Vec<PurchasedSubscription>) -> Organization {
    let was_live = subscriptions.iter().any(PurchasedSubscription::has_served);
    let subscriptions = Purchases::relevant(subscriptions);
    let purchases =
        Purchases { customer: "cus_1".into(), subscriptions, was_live, was_live_before: false };
    Organization { purchases: Some(purchases), ..free() }
}

/// The verdict, the plan whose quota counts, and the subscription to show.
fn found(organization: &Organization) -> (Result<(), NotEntitled>, &str, Option<&str>) {
    let decision = decide(organization, &Config::default(), now());
    (decision.verdict, decision.plan, decision.shown.map(|shown| shown.id))
}

#[test]
fn every_status_of_a_subscription_has_its_verdict() {
    let cases = [
        (Status::Active, Ok(())),
        (Status::Trialing, Ok(())),
        (Status::PastDue, Ok(())),
        (Status::Unpaid, Err(NotEntitled::Unpaid)),
        (Status::Paused, Err(NotEntitled::Paused)),
        (Status::Canceled, Err(NotEntitled::SubscriptionEnded)),
    ];
    for (status, verdict) in cases {
        let organization = bought(vec![sold("sub_1", "growth", status.clone(), 5)]);
        assert_eq!(found(&organization), (verdict, "growth", Some("sub_1")), "{status:?}");
    }
    // These statuses take nothing away: the own plan still counts.
    for status in [Status::Incomplete, Status::IncompleteExpired, Status::Other("new".into())] {
        let organization = bought(vec![sold("sub_1", "growth", status.clone(), 5)]);
        assert_eq!(found(&organization), (Ok(()), "developer", Some("sub_1")), "{status:?}");
    }
}

#[test]
fn an_own_plan_that_needs_a_subscription_does_not_entitle_without_one() {
    let standard = Organization { plan: "standard".into(), ..free() };
    assert_eq!(found(&standard), (Err(NotEntitled::NoSubscription), "standard", None));
    let waiting = bought(vec![sold("sub_1", "standard", Status::Incomplete, 0)]);
    let waiting = Organization { plan: "standard".into(), ..waiting };
    let reason = Err(NotEntitled::FirstPaymentOutstanding);
    assert_eq!(found(&waiting), (reason, "standard", Some("sub_1")));
}

#[test]
fn a_suspended_organization_is_refused_whatever_it_has() {
    let contracted = Organization { contract: Some(contract(Status::Active)), ..free() };
    for mut organization in [free(), contracted] {
        organization.status = OrganizationStatus::Suspended;
        assert_eq!(found(&organization).0, Err(NotEntitled::Suspended));
    }
}

#[test]
fn a_contract_counts_before_everything_else_until_it_ends() {
    let mut organization = bought(vec![sold("sub_1", "growth", Status::Active, 5)]);
    organization.contract = Some(contract(Status::Active));
    assert_eq!(found(&organization), (Ok(()), "enterprise", Some("contract-1")));
    let ended = Contract { cancel_at: Some(now()), ..contract(Status::Active) };
    organization.contract = Some(ended.clone());
    assert_eq!(found(&organization), (Ok(()), "growth", Some("sub_1")));
    let ends = Contract { cancel_at: Some(now().plus(DAY)), ..contract(Status::Active) };
    organization.contract = Some(ends);
    assert_eq!(found(&organization).1, "enterprise");
    // Only a contract that ended: the organization was served before and is not entitled any more.
    let organization = Organization { contract: Some(ended), ..free() };
    let reason = Err(NotEntitled::ContractEnded);
    assert_eq!(found(&organization), (reason, "enterprise", Some("contract-1")));
}

#[test]
fn a_contract_continues_in_periods_of_its_length() {
    let period = Period { start: now().minus(DAY * 50), end: now().minus(DAY * 20) };
    let set = Contract { period, ..contract(Status::Active) };
    let organization = Organization { contract: Some(set), ..free() };
    let decision = decide(&organization, &Config::default(), now());
    assert_eq!(decision.period, Period { start: period.end, end: now().plus(DAY * 10) });
    assert_eq!(decision.shown.map(|shown| shown.period), Some(period), "as it was set");
}

#[test]
fn the_subscription_created_last_counts_first_and_one_that_fails_takes_nothing_away() {
    let both = bought(vec![
        sold("sub_new", "growth", Status::Active, 1),
        sold("sub_old", "standard", Status::Active, 40),
    ]);
    assert_eq!(found(&both), (Ok(()), "growth", Some("sub_new")));
    let mut beyond_grace = sold("sub_new", "growth", Status::PastDue, 9);
    beyond_grace.unpaid_since = Some(now().minus(DAY * 7));
    let newer = [
        sold("sub_new", "growth", Status::Paused, 1),
        sold("sub_new", "growth", Status::Unpaid, 1),
        sold("sub_new", "growth", Status::Incomplete, 1),
        beyond_grace,
    ];
    for newer in newer {
        let organization =
            bought(vec![newer.clone(), sold("sub_old", "standard", Status::Active, 40)]);
        assert_eq!(found(&organization), (Ok(()), "standard", Some("sub_old")), "{newer:?}");
    }
}

#[test]
fn grace_is_counted_from_what_is_unpaid_and_ends_without_an_event() {
    let mut one = sold("sub_1", "growth", Status::Active, 60);
    let at = |organization: &Organization, at: Timestamp| {
        let decision = decide(organization, &Config::default(), at);
        (decision.verdict, decision.shown.and_then(|shown| shown.grace_until))
    };
    // An invoice that was sent, due tomorrow.
    let due = now().plus(DAY);
    one.unpaid_since = Some(due);
    let organization = bought(vec![one]);
    assert_eq!(at(&organization, now()), (Ok(()), None), "nothing has failed yet");
    let until = due.plus(DAY * 7);
    assert_eq!(at(&organization, due), (Ok(()), Some(until)));
    assert_eq!(at(&organization, until.minus(Duration::from_micros(1))), (Ok(()), Some(until)));
    assert_eq!(at(&organization, until), (Err(NotEntitled::GraceOver), Some(until)));
}

#[test]
fn a_scheduled_end_ends_it_although_its_event_was_lost() {
    for status in [Status::Active, Status::Trialing, Status::PastDue] {
        let mut one = sold("sub_1", "growth", status, 60);
        one.cancel_at = Some(now());
        let organization = bought(vec![one]);
        assert_eq!(found(&organization).0, Err(NotEntitled::SubscriptionEnded));
    }
}

#[test]
fn the_included_units_count_as_often_as_they_were_bought() {
    let config = Config::default();
    let terms = |quantity| {
        let mut one = sold("sub_1", "standard", Status::Active, 5);
        one.quantity = quantity;
        let organization = bought(vec![one]);
        let decision = decide(&organization, &config, now());
        let plan = config.plan(decision.plan).expect("shipped");
        (decision.verdict, decision.entitlement(&organization, plan).terms)
    };
    let (verdict, three) = terms(3);
    assert_eq!((verdict, three.included, three.cap), (Ok(()), 750_000, Some(900_000)));
    assert_eq!(terms(0).0, Err(NotEntitled::QuantityZero));
    assert_eq!(terms(u64::MAX).1.included, u64::MAX, "bounded");
}

#[test]
fn within_a_yearly_subscription_the_allowance_is_for_a_month() {
    let at = |text: &str| Timestamp::parse(text).expect("valid");
    let mut one = sold("sub_1", "standard", Status::Active, 5);
    one.period = Period { start: at("2026-10-31T08:00:00Z"), end: at("2027-10-31T08:00:00Z") };
    (one.interval_months, one.anchor) = (Some(12), Some(one.period.start));
    let organization = bought(vec![one]);
    let decision = decide(&organization, &Config::default(), at("2027-02-28T08:00:00Z"));
    let month = Period { start: at("2027-02-28T08:00:00Z"), end: at("2027-03-31T08:00:00Z") };
    assert_eq!(decision.period, month);
    // The renewal's event is late: the next year has begun nevertheless.
    let decision = decide(&organization, &Config::default(), at("2027-11-02T00:00:00Z"));
    let month = Period { start: at("2027-10-31T08:00:00Z"), end: at("2027-11-30T08:00:00Z") };
    assert_eq!(decision.period, month);
}

#[test]
fn after_a_subscription_the_own_plan_counts_only_where_the_setting_says_so() {
    let mut config = Config::default();
    let ended = bought(vec![sold("sub_1", "growth", Status::Canceled, 40)]);
    assert_eq!(decide(&ended, &config, now()).verdict, Err(NotEntitled::SubscriptionEnded));
    config.metering.after_subscription = AfterSubscription::OwnPlan;
    let decision = decide(&ended, &config, now());
    assert_eq!((decision.verdict, decision.plan), (Ok(()), "developer"));
    assert_eq!(decision.source, Source::OwnPlan);
    assert_eq!(decision.period, Period::calendar_month(now()));
    let paid = Organization { plan: "standard".into(), ..ended };
    assert_eq!(decide(&paid, &config, now()).verdict, Err(NotEntitled::SubscriptionEnded));
    // Another customer of the same organization was served before.
    let mut moved = bought(Vec::new());
    moved.purchases.as_mut().expect("there are some").was_live_before = true;
    assert_eq!(found(&moved), (Err(NotEntitled::SubscriptionEnded), "developer", None));
}

#[test]
fn the_reason_of_the_nearest_candidate_is_reported() {
    let mut late = sold("sub_late", "standard", Status::PastDue, 90);
    late.unpaid_since = Some(now().minus(DAY * 30));
    let mut organization = bought(vec![
        sold("sub_never", "growth", Status::IncompleteExpired, 1),
        sold("sub_paused", "growth", Status::Paused, 2),
        late,
        sold("sub_old", "growth", Status::Canceled, 200),
    ]);
    assert_eq!(found(&organization), (Err(NotEntitled::GraceOver), "standard", Some("sub_late")));
    organization.contract =
        Some(Contract { cancel_at: Some(now().minus(DAY)), ..contract(Status::Active) });
    assert_eq!(found(&organization).0, Err(NotEntitled::GraceOver), "not that the contract ended");
}

#[test]
fn what_a_former_customer_bought_decides_nothing() {
    let mut organization = bought(vec![sold("sub_1", "growth", Status::Active, 5)]);
    for other in [None, Some("cus_2".to_owned())] {
        organization.stripe_customer_id = other;
        let reason = Err(NotEntitled::SubscriptionEnded);
        assert_eq!(found(&organization), (reason, "developer", None));
    }
}

#[test]
fn unknown_statuses_survive_a_round_trip() {
    let text = r#""on_hold""#;
    let status: Status = serde_json::from_str(text).expect("open enum");
    assert_eq!(status, Status::Other("on_hold".into()));
    assert_eq!(serde_json::to_string(&status).expect("text"), text);
}
