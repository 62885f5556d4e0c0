//! Unique constraints that are not ours: of the project, or added by somebody. A row of ours that
//! violates one is an error, never "it exists already", so that no write is lost silently.
//!
//! The constraint lets a table have only one row. Each case writes that row, repeats the write if
//! repetition is allowed, then writes another row, which fails. After the constraint is removed,
//! the same write succeeds.

use std::time::Duration;

use driftlock_domain::alert::{Alert, AlertKind};
use driftlock_domain::denial::{Fault, FaultKind};
use driftlock_domain::entitlement::Terms;
use driftlock_domain::idempotency::{Claim, Fingerprint, IdempotencyKey};
use driftlock_domain::lease::LeaseAsk;
use driftlock_domain::organization::OrganizationPatch;
use driftlock_domain::period::Period;
use driftlock_domain::stripe::delivery::DeliveryState;
use driftlock_domain::stripe::file::BillingCommit;
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::stripe::meter::{ReportMode, SealRule};
use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Scenario};
use driftlock_domain::time::Timestamp;
use driftlock_domain::usage::{Grouping, Settled, Settlement};
use driftlock_gateway::ports::Clock as _;
use futures_executor::block_on;

use super::inbox::commit;
use crate::clock::VirtualClock;
use crate::make::{ask, audit, key, node, now, organization, organization_id, settlement, terms};
use crate::sim::{Asking, Sim, SimStore, config};
use crate::stripe::StripeDouble;

const HOUR: Duration = Duration::from_secs(3_600);

/// A store with a table that may have only one row.
pub struct Constrained<S> {
    /// The store.
    pub store: S,
    /// Removes the constraint.
    pub lift: Box<dyn FnOnce()>,
}

/// Runs every case and returns how many there are. `make` returns a store in which the table of the
/// given name may have only one row.
///
/// # Panics
/// When a case fails.
pub fn run_constrained<S: SimStore>(make: impl Fn(&str) -> Constrained<S>) -> usize {
    let deliveries = make("stripe_events");
    block_on(a_delivery_is_refused(deliveries));
    block_on(organizations_and_keys(make("organizations"), make("api_keys")));
    block_on(audit_rows(make("audit_logs")));
    block_on(what_follows_from_events(make("billing_customers"), make("invoices_mirror")));
    block_on(alerts(make("alerts")));
    block_on(periods(make("billing_periods")));
    let settled = ["routes", "idempotency_keys", "usage_counters", "meter_outbox"];
    for table in settled {
        block_on(settlements(make(table), table));
    }
    block_on(reports(make("meter_reports")));
    8 + settled.len()
}

/// The write is neither done nor counted as done.
fn refused<T>(answer: Result<T, Fault>, what: &str) {
    let Err(fault) = answer else { panic!("{what}: it violates a constraint") };
    assert_ne!(fault.kind, FaultKind::Conflict, "{what}: {fault}");
}

async fn a_delivery_is_refused<S: SimStore>(Constrained { store, lift }: Constrained<S>) {
    let price = |plan: &str| SamplePrice { id: format!("price_{plan}"), cents: 4_900 };
    let life: Life = Scenario::Signup.life(LifeParams {
        seed: 1,
        shape: ApiShape::Basil,
        livemode: false,
        organization: organization_id(1).to_string(),
        customer: None,
        price: price("standard"),
        upgrade: price("growth"),
        start: now(),
    });
    let clock = VirtualClock::at(now());
    let of_double = clock.clone();
    let double = StripeDouble::new(1, move || of_double.now());
    let sim = Sim::start(&store, &clock, &double, Asking::Offline, &config());
    let [first, second, ..] = life.events() else { panic!("a sign-up has several events") };
    let bodies = [first, second].map(|event| event.to_string().into_bytes());
    let id = second["id"].as_str().expect("an id");
    assert_eq!(sim.deliver(&bodies[0]).await, 200);
    assert_eq!(sim.deliver(&bodies[0]).await, 200, "a duplicate");
    let status = sim.deliver(&bodies[1]).await;
    assert!((500..600).contains(&status), "Stripe must deliver it again: {status}");
    assert_eq!(store.event(id).await.expect("read"), None, "it is not kept");
    lift();
    assert_eq!(sim.deliver(&bodies[1]).await, 200);
    let kept = store.event(id).await.expect("read").expect("it is kept");
    assert_eq!(kept.state, DeliveryState::Pending);
}

async fn organizations_and_keys<S: SimStore>(organizations: Constrained<S>, keys: Constrained<S>) {
    let Constrained { store, lift } = organizations;
    let make = async |number| {
        store.create_organization(&organization(number), audit("organization.create")).await
    };
    make(1).await.expect("made");
    assert_eq!(make(1).await.expect_err("it exists").kind, FaultKind::Conflict);
    refused(make(2).await, "an organization");
    assert_eq!(store.organization(organization_id(2)).await.expect("read"), None);
    lift();
    make(2).await.expect("made");

    let Constrained { store, lift } = keys;
    store.create_organization(&organization(1), audit("organization.create")).await.expect("made");
    let make = async |number| {
        let (record, hash) = key(number, 1);
        store.create_key(&record, &hash, audit("key.create")).await
    };
    make(1).await.expect("made");
    assert_eq!(make(1).await.expect_err("it exists").kind, FaultKind::Conflict);
    refused(make(2).await, "a key");
    lift();
    make(2).await.expect("made");
}

async fn audit_rows<S: SimStore>(Constrained { store, lift }: Constrained<S>) {
    let id = organization_id(1);
    store.create_organization(&organization(1), audit("organization.create")).await.expect("made");
    let rename = async || {
        let patch =
            OrganizationPatch { name: Some("other".into()), ..OrganizationPatch::default() };
        store.patch_organization(id, patch, audit("organization.update")).await
    };
    refused(rename().await, "a change and its audit row");
    let kept = store.organization(id).await.expect("read").expect("there");
    assert_eq!(kept.name, organization(1).name, "neither is written");
    lift();
    rename().await.expect("renamed");
    assert_eq!(store.entries(id, 0, 9).await.expect("read").len(), 2);
}

async fn what_follows_from_events<S: SimStore>(
    customers: Constrained<S>,
    invoices: Constrained<S>,
) {
    let Constrained { store, lift } = customers;
    for number in [1, 2] {
        let made = organization(number);
        store.create_organization(&made, audit("organization.create")).await.expect("made");
    }
    assert!(store.commit(commit(0, &[])).await.expect("committed"));
    let other = || BillingCommit {
        customer: "cus_2".into(),
        organization: organization_id(2),
        ..commit(0, &[])
    };
    refused(store.commit(other()).await, "a customer's billing state");
    assert_eq!(store.customer("cus_2").await.expect("read").revision, 0);
    lift();
    assert!(store.commit(other()).await.expect("committed"));

    let Constrained { store, lift } = invoices;
    store.create_organization(&organization(1), audit("organization.create")).await.expect("made");
    let with = |revision, ids: &[&str]| {
        let invoice = |id: &&str| {
            let object = serde_json::json!({ "id": id, "created": now().secs() });
            InvoiceState::from_object(&object, now()).expect("it has an id")
        };
        BillingCommit { invoices: ids.iter().map(invoice).collect(), ..commit(revision, &[]) }
    };
    assert!(store.commit(with(0, &["in_1"])).await.expect("committed"));
    assert!(store.commit(with(1, &["in_1"])).await.expect("committed"), "the same one anew");
    refused(store.commit(with(2, &["in_1", "in_2"])).await, "another invoice");
    assert_eq!(store.customer("cus_1").await.expect("read").revision, 2, "nothing of it remains");
    lift();
    assert!(store.commit(with(2, &["in_1", "in_2"])).await.expect("committed"));
}

async fn alerts<S: SimStore>(Constrained { store, lift }: Constrained<S>) {
    let alert = |subject: &str| Alert {
        organization: organization_id(1),
        kind: AlertKind::UsageDrift,
        subject: subject.into(),
        at: now(),
        details: serde_json::json!({}),
    };
    store.raise(alert("1")).await.expect("raised");
    store.raise(alert("1")).await.expect("it is there");
    refused(store.raise(alert("2")).await, "another alert");
    lift();
    store.raise(alert("2")).await.expect("raised");
    assert_eq!(store.alerts(organization_id(1), 9).await.expect("read").len(), 2);
}

async fn periods<S: SimStore>(Constrained { store, lift }: Constrained<S>) {
    let id = organization_id(1);
    store.lease(id, node(1), &ask(None, 0, 1), now()).await.expect("leased");
    store.lease(id, node(1), &ask(None, 0, 1), now()).await.expect("leased again");
    let next = Period::calendar_month(terms(None).period.end);
    let other = LeaseAsk { terms: Terms { period: next, ..terms(None) }, ..ask(None, 0, 1) };
    refused(store.lease(id, node(1), &other, next.start).await, "another period");
    lift();
    store.lease(id, node(1), &other, next.start).await.expect("leased");
}

async fn settlements<S: SimStore>(Constrained { store, lift }: Constrained<S>, table: &str) {
    let id = organization_id(1);
    let lease = async |at| store.lease(id, node(1), &ask(None, 0, 9), at).await.expect("leased");
    let claim = |number| Claim {
        key: IdempotencyKey([number; 32]),
        fingerprint: Fingerprint([number; 32]),
    };
    let one = Settlement { claim: Some(claim(1)), ..settlement(1, 1) };
    lease(now()).await;
    let settled = store.settle(one.clone(), now()).await.expect("settled");
    assert!(matches!(settled, Settled::Committed { .. }), "{table}");
    let again = store.settle(one, now()).await.expect("answered");
    assert!(matches!(again, Settled::Repeated { .. }), "{table}: {again:?}");

    // A settlement that needs another row in each of these tables.
    let later = now().plus(HOUR);
    let mut other = Settlement { claim: Some(claim(2)), ..settlement(1, 2) };
    other.route = "POST /api/v1/analyze".into();
    lease(later).await;
    refused(store.settle(other.clone(), later).await, table);
    assert_eq!(units(&store, later).await, 1, "{table}: nothing of it is charged");
    lift();
    lease(later).await;
    let settled = store.settle(other, later).await.expect("settled");
    assert!(matches!(settled, Settled::Committed { .. }), "{table}: {settled:?}");
    assert_eq!(units(&store, later).await, 2, "{table}");
}

async fn units<S: SimStore>(store: &S, at: Timestamp) -> u64 {
    let usage = store.usage(organization_id(1), at, terms(None).period, Grouping::Key).await;
    usage.expect("read").map_or(0, |usage| usage.units)
}

async fn reports<S: SimStore>(Constrained { store, lift }: Constrained<S>) {
    let id = organization_id(1);
    let later = now().plus(HOUR);
    store.lease(id, node(1), &ask(None, 0, 9), now()).await.expect("leased");
    store.settle(settlement(1, 1), now()).await.expect("settled");
    store.settle(settlement(1, 2), later).await.expect("settled");
    let service = Period { start: Timestamp::default(), end: Timestamp::MAX };
    let rule = SealRule { mode: ReportMode::Total, included: 0, service, in_force: None };
    let seal = async || store.seal(id, rule, later.plus(HOUR)).await;
    refused(seal().await, "another report");
    let window = Period { start: Timestamp::default(), end: later.plus(HOUR * 9) };
    assert_eq!(store.reports(id, window).await.expect("read").len(), 0, "nothing is sealed");
    lift();
    assert_eq!(seal().await.expect("sealed"), 2);
}
