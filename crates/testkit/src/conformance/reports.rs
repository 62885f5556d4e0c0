//! Meter reports of sealed buckets (I7), and alerts, each raised once.

use std::time::Duration;

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::lease::LeaseAsk;
use driftlock_domain::organization::{Contract, OrganizationPatch, SubscriptionStatus};
use driftlock_domain::period::Period;
use driftlock_domain::stripe::meter::{
    Next, PeriodSums, ReportMode, ReportState, SealRule, Sealed,
};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::Settled;
use driftlock_gateway::ports::Page;

use super::Store;
use crate::make::{ask, audit, node, now, organization, organization_id, settlement, terms};

const ALWAYS: Period = Period { start: Timestamp::from_micros(0), end: Timestamp::MAX };
const TOTAL: SealRule =
    SealRule { mode: ReportMode::Total, included: 0, service: ALWAYS, in_force: None };
const HOUR: Duration = Duration::from_secs(3_600);

/// Creates an organization that is a Stripe customer and has a lease.
async fn customer(store: &impl Store, cap: Option<u64>) {
    let made = organization(1);
    store.create_organization(&made, audit("organization.create")).await.expect("made");
    let patch = OrganizationPatch {
        stripe_customer_id: Some(Some("cus_1".into())),
        contract: Some(Some(contract())),
        ..OrganizationPatch::default()
    };
    store.patch_organization(made.id, patch, audit("organization.update")).await.expect("patched");
    store.lease(made.id, node(1), &ask(cap, 0, 100), now()).await.expect("leased");
}

fn contract() -> Contract {
    Contract {
        id: "sub_1".into(),
        status: SubscriptionStatus::Active,
        plan: "standard".into(),
        period: Period::calendar_month(now()),
        cancel_at: None,
        grace_until: None,
    }
}

async fn use_units(store: &impl Store, number: u64, units: u32, at: Timestamp) {
    let mut settlement = settlement(1, number);
    settlement.units = units;
    let settled = store.settle(settlement, at).await.expect("settled");
    assert!(matches!(settled, Settled::Committed { .. }));
}

async fn reporting(store: &impl Store, at: Timestamp) -> usize {
    store.reporting(at, Page { after: None, limit: 9 }).await.expect("read").len()
}

/// Takes all due reports and marks them as acknowledged; returns their values in order of time.
async fn report_all(store: &impl Store, at: Timestamp) -> Vec<i64> {
    let mut reported = Vec::new();
    while let Some(report) = store.take_report(organization_id(1), at).await.expect("taken") {
        let identifier = report.sealed.identifier;
        store
            .answer_report(organization_id(1), &identifier, Next::Done, at)
            .await
            .expect("answered");
        reported.push((report.sealed.timestamp, report.sealed.value));
    }
    reported.sort_unstable();
    reported.into_iter().map(|(_, value)| value).collect()
}

pub(super) async fn buckets_are_sealed_once_and_for_good(store: impl Store) {
    let id = organization_id(1);
    customer(&store, None).await;
    use_units(&store, 1, 3, now()).await;
    use_units(&store, 2, 4, now().plus(HOUR)).await;
    assert_eq!(store.seal(id, TOTAL, now()).await.expect("sealed"), 0, "both may still grow");
    let later = now().plus(HOUR);
    assert_eq!(reporting(&store, later).await, 1);
    assert_eq!(store.seal(id, TOTAL, later).await.expect("sealed"), 1, "the first hour is over");
    assert_eq!(store.seal(id, TOTAL, later).await.expect("sealed"), 0, "once");

    // A late settlement in the sealed hour gets another report.
    use_units(&store, 3, 5, later).await;
    let end = now().plus(4 * HOUR);
    assert_eq!(store.seal(id, TOTAL, end).await.expect("sealed"), 1);
    let sums = store.report_sums(id, 9).await.expect("read")[0];
    assert_eq!((sums.settled, sums.sealed, sums.open), (12, 12, 0));
    assert_eq!((sums.acknowledged, sums.outstanding, sums.dead), (0, 12, 0));
    assert_eq!(report_all(&store, end).await, [3, 9]);
    let sums = store.report_sums(id, 9).await.expect("read")[0];
    assert_eq!(
        (sums.acknowledged, sums.outstanding),
        (12, 0),
        "the acknowledged value is the settled units"
    );
    assert_eq!(reporting(&store, end).await, 0);

    use_units(&store, 4, 2, end).await;
    let voided = settlement(1, 3).usage;
    store.void(id, voided).await.expect_err("reported usage cannot be voided");
    let window = Period { start: now().floor_to(3_600), end };
    let reports = store.reports(id, window).await.expect("read");
    assert_eq!(reports.len(), 2);
    assert!(reports.iter().all(|report| report.state == ReportState::Done));
}

pub(super) async fn overage_adds_up_whatever_is_raised(store: impl Store) {
    let id = organization_id(1);
    customer(&store, None).await;
    for hour in 0..4 {
        use_units(&store, hour, 10, now().plus(HOUR * u32::try_from(hour).expect("small"))).await;
    }
    let end = now().plus(9 * HOUR);
    let rule = SealRule { mode: ReportMode::Overage, included: 25, ..TOTAL };
    assert_eq!(store.seal(id, rule, end).await.expect("sealed"), 4);
    assert_eq!(report_all(&store, end).await, [5, 10], "included units are not reported");
    // After more units are included, nothing is reported until these are used up, too.
    let raised = SealRule { included: 35, ..rule };
    use_units(&store, 9, 12, end).await;
    store.seal(id, raised, end.plus(2 * HOUR)).await.expect("sealed");
    assert_eq!(report_all(&store, end.plus(2 * HOUR)).await, [2], "52 - 35 = 17 in all");
}

pub(super) async fn overage_reported_under_other_terms_is_corrected(store: impl Store) {
    let id = organization_id(1);
    customer(&store, None).await;
    use_units(&store, 1, 8, now()).await;
    let (sealed_at, period) = (now().plus(HOUR), terms(None).period);
    let before = SealRule {
        mode: ReportMode::Overage,
        included: 5,
        service: Period { start: period.start, end: Timestamp::MAX },
        in_force: Some(period),
    };
    assert_eq!(store.seal(id, before, sealed_at).await.expect("sealed"), 1);
    assert_eq!(report_all(&store, sealed_at).await, [3], "8 - 5");
    assert_eq!(store.seal(id, before, sealed_at).await.expect("sealed"), 0, "it is right");

    let raised = SealRule { included: 20, ..before };
    let other = SealRule { in_force: None, ..raised };
    assert_eq!(store.seal(id, other, sealed_at).await.expect("sealed"), 0, "not this period's");
    assert_eq!(store.seal(id, raised, sealed_at).await.expect("sealed"), 1);
    assert_eq!(store.seal(id, raised, sealed_at).await.expect("sealed"), 0, "once");
    let sums = async || store.report_sums(id, 9).await.expect("read")[0];
    let PeriodSums { sealed, acknowledged, outstanding, .. } = sums().await;
    assert_eq!((sealed, acknowledged, outstanding), (8, 3, -3));
    assert_eq!(reporting(&store, sealed_at).await, 1, "it waits to be sent");
    let correction = store.take_report(id, sealed_at).await.expect("taken").expect("there");
    let Sealed { identifier, value, timestamp } = correction.sealed;
    assert_eq!((value, correction.units, timestamp), (-3, 0, sealed_at.floor_to(1)));
    store.answer_report(id, &identifier, Next::Done, sealed_at).await.expect("answered");
    assert_eq!((sums().await.acknowledged, sums().await.outstanding), (0, 0));

    // Later usage is reported beyond that, and corrected again if the terms change again.
    let later = sealed_at.plus(2 * HOUR);
    use_units(&store, 2, 20, sealed_at).await;
    store.seal(id, raised, later).await.expect("sealed");
    assert_eq!(report_all(&store, later).await, [8], "28 - 20");
    let most = SealRule { included: 26, ..raised };
    assert_eq!(store.seal(id, most, later).await.expect("sealed"), 1);
    assert_eq!(report_all(&store, later).await, [-6], "28 - 26 = 2 are overage still");
    assert_eq!(sums().await.acknowledged, 2);
    // A report that Stripe never accepted needs no correction.
    use_units(&store, 3, 10, later).await;
    let last = later.plus(2 * HOUR);
    store.seal(id, most, last).await.expect("sealed");
    let refused = store.take_report(id, last).await.expect("taken").expect("there");
    assert_eq!(refused.sealed.value, 10);
    let dead = Next::DeadLetter { code: None, message: "no meter".into() };
    store.answer_report(id, &refused.sealed.identifier, dead, last).await.expect("answered");
    let all = SealRule { included: 36, ..most };
    assert_eq!(store.seal(id, all, last).await.expect("sealed"), 0, "2 are overage, and reported");
    assert_eq!((sums().await.acknowledged, sums().await.dead), (2, 10));
}

pub(super) async fn an_attempt_is_recorded_before_it_is_made(store: impl Store) {
    let id = organization_id(1);
    customer(&store, None).await;
    use_units(&store, 1, 3, now()).await;
    let end = now().plus(2 * HOUR);
    store.seal(id, TOTAL, end).await.expect("sealed");
    let first = store.take_report(id, end).await.expect("taken").expect("there");
    assert_eq!((first.attempts.count, first.attempts.first_at), (1, Some(end)));
    assert!(store.take_report(id, end).await.expect("read").is_none(), "the report is taken");
    // The process that took it crashed: the same report is due again, unchanged.
    let again = store.take_report(id, end.plus(HOUR)).await.expect("taken").expect("there");
    assert_eq!((&again.sealed, again.attempts.count), (&first.sealed, 2));
    // After a day Stripe would not recognize it: it is no longer sent, but compared.
    let day = end.plus(24 * HOUR);
    let old = store.take_report(id, day).await.expect("taken").expect("there");
    assert_eq!((old.state, old.attempts.count), (ReportState::Reconcile, 2));
    let identifier = &*old.sealed.identifier;
    store.answer_report(id, identifier, Next::Resend, day).await.expect("answered");
    let fresh = store.take_report(id, day).await.expect("taken").expect("there");
    assert_eq!((fresh.state, fresh.attempts.count), (ReportState::Pending, 1), "as if new");

    let dead = Next::DeadLetter { code: None, message: "no such meter".into() };
    store.answer_report(id, identifier, dead, day).await.expect("answered");
    assert!(store.take_report(id, day.plus(24 * HOUR)).await.expect("read").is_none());
    let sums = store.report_sums(id, 9).await.expect("read")[0];
    assert_eq!((sums.acknowledged, sums.outstanding, sums.dead), (0, 0, 3));
}

pub(super) async fn one_report_of_an_organization_is_sent_at_a_time(store: impl Store) {
    let id = organization_id(1);
    customer(&store, None).await;
    use_units(&store, 1, 3, now()).await;
    use_units(&store, 2, 4, now().plus(HOUR)).await;
    let end = now().plus(3 * HOUR);
    assert_eq!(store.seal(id, TOTAL, end).await.expect("sealed"), 2);
    let first = store.take_report(id, end).await.expect("taken").expect("there");
    assert_eq!(store.take_report(id, end).await.expect("read"), None, "another one is due, too");
    let identifier = &*first.sealed.identifier;
    store.answer_report(id, identifier, Next::Done, end).await.expect("answered");
    let second = store.take_report(id, end).await.expect("taken").expect("there");
    assert_ne!(second.sealed.identifier, first.sealed.identifier);
    // The process that took it crashed: the claim expires.
    let again = store.take_report(id, end.plus(HOUR)).await.expect("taken").expect("there");
    assert_eq!(again.sealed, second.sealed);
    let window = Period { start: now().floor_to(3_600), end };
    let reports = store.reports(id, window).await.expect("read");
    let done = reports.iter().find(|report| report.state == ReportState::Done).expect("one is");
    assert_eq!(done.done_at, Some(end));
}

pub(super) async fn usage_before_the_service_is_closed_and_never_reported(store: impl Store) {
    let id = organization_id(1);
    customer(&store, None).await;
    // A calendar month, until a subscription begins within it.
    use_units(&store, 1, 5, now()).await;
    let start = now().plus(HOUR);
    let period = Period { start, end: start.plus(720 * HOUR) };
    let ask = LeaseAsk { terms: Terms::free(period, 9, None), ..ask(None, 0, 100) };
    store.lease(id, node(1), &ask, start).await.expect("leased");
    use_units(&store, 2, 7, start.plus(HOUR)).await;
    let end = start.plus(4 * HOUR);
    for mode in [ReportMode::Total, ReportMode::Overage] {
        let service = Period { start, end: Timestamp::MAX };
        let rule = SealRule { mode, included: 0, service, in_force: None };
        store.seal(id, rule, end).await.expect("sealed");
    }
    assert_eq!(report_all(&store, end).await, [7]);
    let sums = store.report_sums(id, 9).await.expect("read");
    let all = |of: fn(&PeriodSums) -> u64| sums.iter().map(of).sum::<u64>();
    assert_eq!((all(|sums| sums.settled), all(|sums| sums.sealed)), (12, 12), "closed, all of it");
    let values = |of: fn(&PeriodSums) -> i64| sums.iter().map(of).sum::<i64>();
    assert_eq!((values(|sums| sums.acknowledged), values(|sums| sums.dead)), (7, 0), "not dead");
    assert_eq!(reporting(&store, end).await, 0);
    let window = Period { start: now().floor_to(3_600), end };
    let reports = store.reports(id, window).await.expect("read");
    let closed = reports.iter().find(|report| report.units == 5).expect("it is there");
    assert_eq!((closed.sealed.value, closed.state), (0, ReportState::Done));
    assert!(closed.error.is_some(), "it says why");
    // Usage after the end of the service is not reported.
    use_units(&store, 3, 2, end).await;
    let ended = Period { start, end: end.floor_to(3_600) };
    let rule = SealRule { service: ended, ..TOTAL };
    store.seal(id, rule, end.plus(2 * HOUR)).await.expect("sealed");
    assert_eq!(report_all(&store, end.plus(2 * HOUR)).await, [0; 0]);
}

pub(super) async fn dead_reports_are_listed_and_sent_again(store: impl Store) {
    let id = organization_id(1);
    customer(&store, None).await;
    for hour in 0..3 {
        use_units(&store, hour, 5, now().plus(HOUR * u32::try_from(hour).expect("small"))).await;
    }
    let end = now().plus(4 * HOUR);
    store.seal(id, TOTAL, end).await.expect("sealed");
    let taken = store.take_report(id, end).await.expect("taken").expect("there");
    let name = &*taken.sealed.identifier;
    let dead = Next::DeadLetter { code: None, message: "no such meter".into() };
    store.answer_report(id, name, dead, end).await.expect("answered");

    let in_state = async |state, after, limit| {
        let found = store.reports_in(state, Page { after, limit }).await.expect("read");
        let ids = found.rows.into_iter().map(|report| report.sealed.identifier);
        (ids.collect::<Vec<String>>(), found.next)
    };
    let (dead, next) = in_state(Some(ReportState::Dead), None, 9).await;
    assert_eq!((dead, next), (vec![name.to_owned()], None));
    let (first, next) = in_state(None, None, 2).await;
    let (rest, last) = in_state(None, next, 2).await;
    assert_eq!((first.len(), rest.len(), last), (2, 1, None));
    assert!(first.iter().max() < rest.first(), "in order of identifier");

    let found = store.report(id, name).await.expect("read").expect("there");
    assert_eq!((found.state, found.error.as_deref()), (ReportState::Dead, Some("no such meter")));
    assert_eq!(store.report(organization_id(2), name).await, Ok(None), "another organization's");
    assert_eq!(store.report(id, "dl-1").await, Ok(None));
    let revive = async |organization, name: &str, at| {
        let row = audit("stripe.report_retried");
        store.revive_report(organization, name, row, at).await.expect("answered")
    };
    assert!(!revive(organization_id(2), name, end).await);
    assert!(
        !revive(id, &first[if first[0] == name { 1 } else { 0 }], end).await,
        "it is on its way"
    );
    assert!(revive(id, name, end).await);
    assert!(!revive(id, name, end).await, "once");
    let rows = store.entries(id, 0, 99).await.expect("read");
    let retries = rows.iter().filter(|row| &*row.record.action == "stripe.report_retried").count();
    assert_eq!(retries, 1, "with its audit entry");
    let found = store.report(id, name).await.expect("read").expect("there");
    assert_eq!((found.state, found.attempts.count, found.error), (ReportState::Pending, 1, None));
    assert_eq!(report_all(&store, end).await.len(), 3, "it is due with the others");
    let done = store.report(id, name).await.expect("read").expect("there");
    assert_eq!(
        (done.state, done.attempts.count, done.attempts.first_at),
        (ReportState::Done, 2, Some(end))
    );
}

pub(super) async fn a_new_period_ends_the_old_ones_last_bucket(store: impl Store) {
    let id = organization_id(1);
    customer(&store, None).await;
    use_units(&store, 1, 3, now()).await;
    let start = now().plus(Duration::from_secs(600));
    let period = Period { start, end: start.plus(720 * HOUR) };
    let ask = LeaseAsk { terms: Terms::free(period, 9, None), number: 1, keep: 0, want: 1 };
    store.lease(id, node(1), &ask, start).await.expect("leased");
    use_units(&store, 2, 4, start).await;
    let end = now().plus(2 * HOUR);
    assert_eq!(store.seal(id, TOTAL, end).await.expect("sealed"), 2, "one hour, two periods");
    let reports = store.reports(id, Period { start: now().floor_to(3_600), end }).await;
    let reports = reports.expect("read");
    let old = reports.iter().find(|report| report.units == 3).expect("there");
    let new = reports.iter().find(|report| report.units == 4).expect("there");
    assert!(old.sealed.timestamp < start, "not stamped into the period that it is not of");
    assert!(new.sealed.timestamp >= start);
    assert_ne!(old.sealed.identifier, new.sealed.identifier);
}

pub(super) async fn alerts_are_raised_once_with_the_unit_that_reaches_a_threshold(
    store: impl Store,
) {
    let id = organization_id(1);
    let ask = LeaseAsk { terms: Terms { included: 10, ..terms(Some(12)) }, ..ask(None, 0, 100) };
    store.lease(id, node(1), &ask, now()).await.expect("leased");
    let kinds = async |store: &_| -> Vec<AlertKind> {
        let alerts: Vec<Alert> = alerts(store).await;
        alerts.iter().map(|alert| alert.kind).collect()
    };
    use_units(&store, 1, 6, now()).await;
    assert_eq!(kinds(&store).await, []);
    use_units(&store, 2, 1, now()).await;
    assert_eq!(kinds(&store).await, [AlertKind::Usage70Percent]);
    store.void(id, settlement(1, 2).usage).await.expect("voided");
    use_units(&store, 3, 1, now()).await;
    assert_eq!(kinds(&store).await.len(), 1, "reached again, raised once");
    use_units(&store, 4, 5, now().plus(HOUR)).await;
    let all = kinds(&store).await;
    assert_eq!(all.len(), 5, "{all:?}");
    assert_eq!(all[4], AlertKind::Usage70Percent, "the newest come first");
    let again = alerts(&store).await.remove(0);
    store.raise(Alert { at: now().plus(9 * HOUR), ..again.clone() }).await.expect("known");
    assert_eq!(alerts(&store).await[0], again);
}

pub(super) async fn thresholds_that_new_terms_reach_raise_alerts_once(store: impl Store) {
    let id = organization_id(1);
    let under = |number, included, cap| LeaseAsk {
        number,
        terms: Terms { included, ..terms(Some(cap)) },
        ..ask(None, 0, 100)
    };
    store.lease(id, node(1), &under(1, 10, 12), now()).await.expect("leased");
    store.lease(id, node(1), &under(2, 0, 0), now()).await.expect("leased");
    assert_eq!(alerts(&store).await, [], "nothing is used");
    store.lease(id, node(1), &under(3, 10, 12), now()).await.expect("leased");
    use_units(&store, 1, 8, now()).await;
    let kinds = async || -> Vec<AlertKind> {
        let mut kinds: Vec<AlertKind> =
            alerts(&store).await.iter().map(|alert| alert.kind).collect();
        kinds.sort_unstable();
        kinds
    };
    assert_eq!(kinds().await, [AlertKind::Usage70Percent]);
    // A smaller plan: all included units are used already, and one more.
    let later = now().plus(HOUR);
    store.lease(id, node(1), &under(4, 7, 12), later).await.expect("leased");
    let all = [
        AlertKind::Usage70Percent,
        AlertKind::Usage90Percent,
        AlertKind::Usage100Percent,
        AlertKind::OverageStarted,
        AlertKind::CapReached,
    ];
    assert_eq!(kinds().await, all[..4]);
    store.lease(id, node(1), &under(5, 7, 8), later).await.expect("leased");
    assert_eq!(kinds().await, all, "the cap is reached at once");
    let cap = alerts(&store).await.into_iter().find(|alert| alert.kind == AlertKind::CapReached);
    let cap = cap.expect("raised");
    assert_eq!((cap.at, &cap.details["cap"]), (later, &serde_json::json!(8)));
    assert_eq!(cap.details["threshold_units"], 8);
    // Change the terms, change them back, and change them again.
    for (number, units) in [(6, 100), (7, 5), (8, 5)] {
        store.lease(id, node(1), &under(number, units, units), later).await.expect("leased");
    }
    assert_eq!(alerts(&store).await.len(), 5, "once in the period");
    assert!(alerts(&store).await.contains(&cap), "as it was raised first");
}

async fn alerts(store: &impl Store) -> Vec<Alert> {
    store.alerts(organization_id(1), 9).await.expect("read")
}
