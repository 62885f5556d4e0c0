//! Usage: I1 (charged once), I4 (never beyond the cap), I7 (the usage API shows what is charged).

use std::time::Duration;

use driftlock_domain::entitlement::{Price, Terms};
use driftlock_domain::lease::LeaseAsk;
use driftlock_domain::period::Period;
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement, UsageSummary};
use driftlock_gateway::ports::Ledger;

use super::Store;
use crate::make::{ask, key_id, node, now, organization_id, settlement, terms};

async fn lease(store: &impl Ledger, cap: Option<u64>, keep: u64, want: u64) -> Option<u64> {
    let granted = store.lease(organization_id(1), node(1), &ask(cap, keep, want), now()).await;
    granted.expect("leased").reserved
}

async fn settle(store: &impl Ledger, settlement: Settlement, at: Timestamp) -> Settled {
    store.settle(settlement, at).await.expect("the store answers")
}

async fn units(store: &impl Store, at: Timestamp) -> u64 {
    units_in(store, at, Period::calendar_month(at)).await
}

async fn units_in(store: &impl Store, at: Timestamp, in_force: Period) -> u64 {
    let usage = store.usage(organization_id(1), at, in_force, Grouping::Day).await.expect("read");
    let units = usage.as_ref().map_or(0, |usage| usage.units);
    let sums = store.report_sums(organization_id(1), 9).await.expect("read");
    let of_period = |usage: &UsageSummary| sums.iter().find(|sums| sums.period == usage.period);
    let outbox = usage.as_ref().and_then(of_period).map_or(0, |sums| sums.open + sums.sealed);
    assert_eq!(units, outbox, "the usage shown is what will be reported to Stripe");
    units
}

pub(super) async fn a_usage_id_counts_once(store: impl Store) {
    lease(&store, None, 0, 1).await;
    let first = settle(&store, settlement(1, 1), now()).await;
    let later = now().plus(Duration::from_secs(5));
    let Settled::Committed { at, period, lease: Some(1) } = first else { panic!("{first:?}") };
    let again = settle(&store, settlement(1, 1), later).await;
    assert_eq!(again, Settled::Repeated { at, period }, "known, and as it was");
    assert_eq!(units(&store, now()).await, 1);
    assert_eq!(store.head(organization_id(1)).await.expect("read").seq, 1, "one audit row");
}

pub(super) async fn a_settlement_returns_the_number_of_its_nodes_lease(store: impl Store) {
    let lease = async |number, keep, want| {
        let ask = LeaseAsk { number, ..ask(Some(9), keep, want) };
        store.lease(organization_id(1), node(1), &ask, now()).await.expect("leased")
    };
    let lease_of = async |number, at| match settle(&store, settlement(1, number), at).await {
        Settled::Committed { lease, .. } => lease,
        not => panic!("{not:?}"),
    };
    lease(5, 0, 1).await;
    assert_eq!(lease_of(1, now()).await, Some(5));
    assert_eq!(lease(7, 0, 0).await.reserved, Some(0), "nothing is kept");
    assert_eq!(lease_of(2, now()).await, Some(7));
    let granted = lease(8, 1, 1).await;
    assert_eq!(granted.used, 2);
    let later = now().plus(granted.ttl);
    if later < terms(None).period.end {
        assert_eq!(lease_of(3, later).await, None, "the lease expired");
    }
}

pub(super) async fn a_cap_is_never_exceeded(store: impl Store) {
    let mut settled = 0;
    for number in 0..20 {
        lease(&store, Some(10), 0, 1).await;
        let outcome = settle(&store, settlement(1, number), now()).await;
        settled += u64::from(matches!(outcome, Settled::Committed { .. }));
        assert!(lease(&store, Some(10), 0, 1).await.expect("capped") <= 10 - settled);
    }
    assert_eq!(settled, 10);
    assert_eq!(units(&store, now()).await, 10);
}

pub(super) async fn a_voided_settlement_no_longer_counts(store: impl Store) {
    lease(&store, Some(1), 0, 1).await;
    let one = settlement(1, 1);
    settle(&store, one.clone(), now()).await;
    store.void(one.organization, one.usage).await.expect("voided");
    store.void(one.organization, one.usage).await.expect("a second time changes nothing");
    assert_eq!(units(&store, now()).await, 0);
    assert_eq!(store.receipt(one.usage).await, Ok(None));
    assert_eq!(settle(&store, one, now()).await, Settled::Refused, "it stays voided");
    lease(&store, Some(1), 0, 1).await;
    let next = settle(&store, settlement(1, 2), now()).await;
    assert!(matches!(next, Settled::Committed { .. }), "its unit is there again");
}

pub(super) async fn a_settlement_voided_before_it_arrives_is_refused(store: impl Store) {
    lease(&store, Some(1), 0, 1).await;
    let late = settlement(1, 1);
    store.void(late.organization, late.usage).await.expect("it may be on its way");
    store.void(late.organization, late.usage).await.expect("a second time changes nothing");
    assert_eq!(settle(&store, late.clone(), now()).await, Settled::Refused);
    assert_eq!(settle(&store, late.clone(), now()).await, Settled::Refused, "however often");
    assert_eq!(units(&store, now()).await, 0);
    assert_eq!(store.receipt(late.usage).await, Ok(None));
    assert_eq!(store.head(organization_id(1)).await.expect("read").seq, 0, "nothing happened");
    let next = settle(&store, settlement(1, 2), now()).await;
    assert!(matches!(next, Settled::Committed { .. }), "its unit was never taken");
}

pub(super) async fn every_grouping_sums_up_to_the_units(store: impl Store) {
    lease(&store, None, 0, 1).await;
    let mut at = now();
    for number in 0..30 {
        at = at.plus(Duration::from_secs(1_800));
        let route = if number % 3 == 0 { "POST /api/v1/analyze" } else { "POST /a" };
        let key = key_id(1 + u8::try_from(number % 2).expect("small"));
        let one = Settlement { key, route: route.into(), units: 2, ..settlement(1, number) };
        settle(&store, one, at).await;
    }
    for (grouping, rows) in
        [(Grouping::Hour, 15), (Grouping::Day, 2), (Grouping::Key, 2), (Grouping::Route, 2)]
    {
        let in_force = terms(None).period;
        let usage = store.usage(organization_id(1), now(), in_force, grouping).await;
        let usage = usage.expect("read");
        let usage = usage.expect("there is some");
        let sum = |of: fn(&driftlock_domain::usage::UsageBucket) -> u64| {
            usage.buckets.iter().map(of).sum::<u64>()
        };
        assert_eq!(usage.buckets.len(), rows, "{grouping:?}");
        assert_eq!((usage.units, sum(|b| b.units), sum(|b| b.requests)), (60, 60, 30));
    }
    let in_force = terms(None).period;
    let none = store.usage(organization_id(2), now(), in_force, Grouping::Day).await;
    assert_eq!(none.expect("read"), None);
}

pub(super) async fn a_hold_across_a_period_change_counts_in_the_new_period(store: impl Store) {
    lease(&store, Some(1), 0, 1).await;
    let next_month = terms(None).period.end.plus(Duration::from_secs(1));
    let outcome = settle(&store, settlement(1, 1), next_month).await;
    assert!(matches!(outcome, Settled::Committed { at, .. } if at == next_month));
    assert_eq!(units(&store, now()).await, 0);
    assert_eq!(units(&store, next_month).await, 1);
    let july = Period::calendar_month(next_month);
    let usage = store.usage(organization_id(1), next_month, july, Grouping::Day).await;
    let usage = usage.expect("read").expect("there is some");
    assert_eq!(
        usage.period, july,
        "a calendar month follows a calendar month, whatever its length"
    );
}

pub(super) async fn the_current_period_is_shown(store: impl Store) {
    let month = terms(None).period;
    let day = Duration::from_secs(86_400);
    let subscribed = Period { start: now().minus(day), end: now().plus(29 * day) };
    let in_force = async |period| {
        let ask = LeaseAsk { terms: Terms { period, ..terms(None) }, ..ask(None, 0, 1) };
        store.lease(organization_id(1), node(1), &ask, now()).await.expect("leased").used
    };
    in_force(month).await;
    settle(&store, settlement(1, 1), now()).await;
    assert_eq!(in_force(subscribed).await, 1, "its units were taken over");
    assert_eq!(units_in(&store, now(), subscribed).await, 1);
    assert_eq!(in_force(month).await, 1, "and come back");
    let past = Period { start: month.start, end: now() };
    for asked_for in [month, past] {
        let usage = store.usage(organization_id(1), now(), asked_for, Grouping::Day).await;
        let usage = usage.expect("read").expect("there is some");
        assert_eq!((usage.period, usage.units), (month, 1), "not the one that was learned last");
    }
}

/// An upgrade changes the terms of the current period, but not those of closed periods.
pub(super) async fn a_closed_period_keeps_the_terms_that_it_had(store: impl Store) {
    let month = Period::calendar_month(now());
    let next = Period::calendar_month(month.end);
    let terms = |period, included, base_micros, overage_micros| Terms {
        price: Price { base_micros, overage_micros },
        ..Terms::free(period, included, None)
    };
    let standard = terms(month, 250_000, 49_000_000, Some(3_500));
    let growth = terms(month, 2_000_000, 249_000_000, None);
    let later = terms(next, 7, 1, Some(2));
    let shown = async |at, in_force| {
        let usage = store.usage(organization_id(1), at, in_force, Grouping::Day).await;
        usage.expect("read").and_then(|usage| usage.terms)
    };
    for (number, terms) in [(1, standard), (2, growth)] {
        let ask = LeaseAsk { terms, number, ..ask(None, 0, 1) };
        store.lease(organization_id(1), node(1), &ask, now()).await.expect("leased");
        assert_eq!(shown(now(), month).await, Some(terms.frozen()), "those leased under last");
    }
    settle(&store, settlement(1, 1), now()).await;
    let ask = LeaseAsk { terms: later, number: 3, ..ask(None, 0, 1) };
    store.lease(organization_id(1), node(1), &ask, month.end).await.expect("leased");
    assert_eq!(shown(now(), next).await, Some(growth.frozen()), "closed");
    assert_eq!(shown(month.end, next).await, Some(later.frozen()));
}

/// A subscription began, changed or renewed, and no request came since.
pub(super) async fn a_period_is_shown_before_the_ledger_changes_to_it(store: impl Store) {
    lease(&store, None, 0, 1).await;
    settle(&store, settlement(1, 1), now()).await;
    let minute = Duration::from_secs(60);
    let later = now().plus(90 * minute);
    for (number, minutes, units) in [(2, 10, 2), (3, 25, 3), (4, 90, 4)] {
        let one = Settlement { units, ..settlement(1, number) };
        settle(&store, one, now().plus(minutes * minute)).await;
    }
    let month = terms(None).period;
    let shown = async |at, period, grouping| {
        let usage = store.usage(organization_id(1), at, period, grouping).await.expect("read");
        let usage = usage.expect("there is some");
        assert_eq!(usage.period, period);
        let sums = usage.buckets.iter().map(|bucket| (bucket.units, bucket.requests));
        (usage.units, sums.collect::<Vec<_>>())
    };
    // The new period begins within an hour that has two settlements before the beginning and one
    // after.
    let period = Period { start: now().plus(22 * minute), end: month.end };
    let took = (7, vec![(3, 1), (4, 1)]);
    assert_eq!(shown(later, period, Grouping::Hour).await, took, "what it will take over");
    assert_eq!(shown(later, month, Grouping::Day).await, (10, vec![(10, 4)]), "nothing was moved");
    let learned = LeaseAsk { terms: Terms { period, ..terms(None) }, ..ask(None, 0, 1) };
    let granted = store.lease(organization_id(1), node(1), &learned, later).await;
    assert_eq!(granted.expect("leased").used, 7);
    assert_eq!(
        shown(later, period, Grouping::Hour).await,
        took,
        "once it was taken over, the same"
    );
    let next = Period::calendar_month(period.end);
    assert_eq!(
        shown(next.start, next, Grouping::Day).await,
        (0, Vec::new()),
        "one that just begins"
    );
}

pub(super) async fn a_late_period_takes_over_its_units(store: impl Store) {
    lease(&store, None, 0, 1).await;
    let before = now();
    settle(&store, settlement(1, 1), before).await;
    let start = now().plus(Duration::from_secs(3_600));
    let within = start.plus(Duration::from_secs(60));
    settle(&store, settlement(1, 2), within).await;
    let period = Period { start, end: start.plus(Duration::from_secs(30 * 86_400)) };
    let learned = LeaseAsk { terms: Terms { period, ..terms(None) }, ..ask(None, 0, 1) };
    let granted = store.lease(organization_id(1), node(1), &learned, within).await;
    assert_eq!(granted.expect("leased").used, 1, "what lies in it was taken over");
    assert_eq!(units_in(&store, within, period).await, 1);
    assert_eq!(units(&store, before).await, 1, "what lies before it stays where it was");
}

pub(super) async fn commit_times_are_monotone(store: impl Store) {
    lease(&store, None, 0, 1).await;
    let late = now().plus(Duration::from_secs(60));
    settle(&store, settlement(1, 1), late).await;
    let outcome = settle(&store, settlement(1, 2), now()).await;
    assert!(matches!(outcome, Settled::Committed { at, .. } if at >= late), "{outcome:?}");
}

pub(super) async fn receipts_show_what_was_settled(store: impl Store) {
    lease(&store, None, 0, 1).await;
    let one = Settlement { units: 3, ..settlement(1, 1) };
    settle(&store, one.clone(), now()).await;
    let receipt = store.receipt(one.usage).await.expect("read").expect("there is one");
    assert_eq!((receipt.id, receipt.units, receipt.at), (one.usage, 3, now()));
    assert_eq!((receipt.organization_id, receipt.key_id), (one.organization, one.key));
    assert_eq!((receipt.route.as_str(), receipt.request_id.as_str()), (&*one.route, "request-1"));
}
