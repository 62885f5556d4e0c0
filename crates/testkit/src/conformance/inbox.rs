//! The event inbox: events are stored once, commits are atomic, events are listed and replayed.

use std::collections::BTreeMap;
use std::time::Duration;

use driftlock_domain::denial::FaultKind;
use driftlock_domain::organization::{Contract, OrganizationPatch, SubscriptionStatus};
use driftlock_domain::period::Period;
use driftlock_domain::purchases::{PurchasedSubscription, Purchases};
use driftlock_domain::stripe::account::BillingState;
use driftlock_domain::stripe::delivery::{Delivery, DeliveryState};
use driftlock_domain::stripe::file::{BillingCommit, Forgetting, Postponed};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Directory, Page};

use super::Store;
use crate::make::{audit, now, organization, organization_id};

const CUSTOMER: &str = "cus_1";

fn delivery(event: &str, state: DeliveryState) -> Delivery {
    Delivery {
        event: event.into(),
        kind: "invoice.paid".into(),
        created: now(),
        livemode: Some(false),
        customer: Some(CUSTOMER.into()),
        received_at: now(),
        body: event.as_bytes().to_vec(),
        state,
        note: None,
    }
}

pub(super) fn commit(revision: u64, done: &[&str]) -> BillingCommit {
    BillingCommit {
        customer: CUSTOMER.into(),
        revision,
        organization: organization_id(1),
        // The first one links the customer.
        linked: (revision > 0).then(|| CUSTOMER.into()),
        billing_state: BillingState {
            subscription: Some("sub_1".into()),
            ..BillingState::default()
        },
        purchases: purchases("growth"),
        invoices: Vec::new(),
        audit: vec![audit("billing.subscribed")],
        alerts: Vec::new(),
        done: done.iter().map(|event| (*event).to_owned()).collect(),
        dead: BTreeMap::new(),
        at: now(),
    }
}

/// One subscription to a plan, with every member set.
fn purchases(plan: &str) -> Purchases {
    let at = |hours: u64| now().plus(Duration::from_secs(hours * 3_600));
    let one = PurchasedSubscription {
        id: "sub_1".into(),
        status: SubscriptionStatus::Active,
        plan: plan.into(),
        quantity: 3,
        period: Period { start: at(0), end: at(8_760) },
        interval_months: Some(12),
        anchor: Some(at(0)),
        created: at(1),
        cancel_at: Some(at(2)),
        unpaid_since: Some(at(3)),
        started_at: Some(at(0)),
        ended_at: Some(at(4)),
    };
    let customer = CUSTOMER.into();
    Purchases { customer, subscriptions: vec![one], was_live: true, was_live_before: true }
}

pub(super) async fn a_purchase_changes_neither_the_own_plan_nor_the_contract(store: impl Store) {
    let id = organization_id(1);
    store.create_organization(&organization(1), audit("organization.create")).await.expect("made");
    let contract = Contract {
        id: "contract-7".into(),
        status: SubscriptionStatus::Active,
        plan: "enterprise".into(),
        period: Period::calendar_month(now()),
        cancel_at: Some(now()),
        grace_until: Some(now()),
    };
    let set = OrganizationPatch {
        contract: Some(Some(contract.clone())),
        ..OrganizationPatch::default()
    };
    store.patch_organization(id, set, audit("organization.update")).await.expect("patched");
    assert!(store.commit(commit(0, &[])).await.expect("committed"));
    let read =
        || async { Directory::organization(&store, id).await.expect("read").expect("there") };
    let found = read().await;
    assert_eq!((found.plan.as_str(), found.contract), ("developer", Some(contract.clone())));
    assert_eq!(found.purchases, Some(purchases("growth")), "to the last member");

    // The next commit replaces only what was bought.
    let next = BillingCommit { purchases: purchases("standard"), ..commit(1, &[]) };
    assert!(store.commit(next).await.expect("committed"));
    let found = read().await;
    assert_eq!((found.plan.as_str(), found.contract), ("developer", Some(contract)));
    assert_eq!(found.purchases, Some(purchases("standard")));

    // An operator ends the contract: what was bought stays.
    let end = OrganizationPatch { contract: Some(None), ..OrganizationPatch::default() };
    let ended = store.patch_organization(id, end, audit("organization.update")).await;
    let ended = ended.expect("patched").expect("there");
    assert_eq!((ended.contract, ended.purchases), (None, Some(purchases("standard"))));
    assert_eq!(read().await.contract, None);
}

pub(super) async fn an_event_is_kept_once(store: impl Store) {
    let pending = delivery("evt_1", DeliveryState::Pending);
    assert!(store.receive(pending.clone()).await.expect("kept"));
    assert!(!store.receive(pending).await.expect("known"), "a second delivery is a duplicate");
    store.receive(delivery("evt_2", DeliveryState::Ignored)).await.expect("kept");
    assert_eq!(store.due(now(), 9).await.expect("read"), [CUSTOMER]);
    let file = store.customer(CUSTOMER).await.expect("read");
    assert_eq!((file.revision, file.organization, file.events.len()), (0, None, 1));
    assert_eq!(file.events[0].body, b"evt_1", "the very bytes");
    let page = Page { after: None, limit: 9 };
    let all = store.events(None, page.clone()).await.expect("read");
    assert_eq!(all.iter().map(|entry| &*entry.id).collect::<Vec<_>>(), ["evt_1", "evt_2"]);
    let ignored = store.events(Some(DeliveryState::Ignored), page).await.expect("read");
    assert_eq!(ignored.len(), 1);
    let rest = Page { after: Some("evt_1".into()), limit: 9 };
    assert_eq!(store.events(None, rest).await.expect("read").len(), 1);
}

pub(super) async fn of_two_commits_from_one_reading_the_first_counts(store: impl Store) {
    let id = organization_id(1);
    store.create_organization(&organization(1), audit("organization.create")).await.expect("made");
    store.receive(delivery("evt_1", DeliveryState::Pending)).await.expect("kept");
    assert!(store.commit(commit(0, &["evt_1"])).await.expect("committed"));
    let mut late = commit(0, &[]);
    late.billing_state = BillingState::default();
    assert!(!store.commit(late).await.expect("answered"), "another commit came first");

    let file = store.customer(CUSTOMER).await.expect("read");
    assert_eq!((file.revision, file.organization), (1, Some(id)));
    assert_eq!(file.billing_state.subscription.as_deref(), Some("sub_1"));
    assert_eq!(file.events[0].state, DeliveryState::Done);
    assert_eq!(store.due(now(), 9).await.expect("read"), [""; 0]);
    let linked = Directory::organization(&store, id).await.expect("read").expect("there");
    assert_eq!(linked.stripe_customer_id.as_deref(), Some(CUSTOMER));
    assert_eq!(linked.plan, "developer", "its own plan stays");
    assert_eq!(linked.purchases, Some(purchases("growth")));
    let entries = store.entries(id, 0, 9).await.expect("read");
    let actions: Vec<&str> = entries.iter().map(|entry| &*entry.record.action).collect();
    assert_eq!(actions, ["organization.create", "billing.subscribed"], "once");
    assert!(store.commit(commit(1, &[])).await.expect("committed"), "and the next one follows");
}

pub(super) async fn an_event_that_cannot_be_processed_waits_dies_and_is_replayed(
    store: impl Store,
) {
    let day = Duration::from_secs(86_400);
    let young =
        Delivery { received_at: now().plus(day), ..delivery("evt_2", DeliveryState::Pending) };
    store.receive(delivery("evt_1", DeliveryState::Pending)).await.expect("kept");
    store.receive(young).await.expect("kept");
    let file = store.customer(CUSTOMER).await.expect("read");
    let mut since: Vec<_> = file.events.iter().map(|event| event.waiting_since).collect();
    since.sort_unstable();
    assert_eq!(since, [now(), now().plus(day)]);
    let later = now().plus(2 * day);
    let wait =
        |give_up_since| Postponed { error: "no organization".into(), until: later, give_up_since };
    // Hundreds of tries within seconds are not enough to give up: time is.
    for _ in 0..400 {
        store.postpone(CUSTOMER, wait(now().minus(day))).await.expect("noted");
    }
    assert_eq!(store.due(now(), 9).await.expect("read"), [""; 0]);
    assert_eq!(store.due(later, 9).await.expect("read"), [CUSTOMER]);
    let entry = store.event("evt_1").await.expect("read").expect("there");
    assert_eq!((entry.state, entry.attempts), (DeliveryState::Pending, 400));
    assert_eq!(entry.error.as_deref(), Some("no organization"));

    store.postpone(CUSTOMER, wait(now())).await.expect("noted");
    let state = async |event| {
        let entry = store.event(event).await.expect("read").expect("there");
        (entry.state, entry.attempts)
    };
    assert_eq!(state("evt_1").await, (DeliveryState::Dead, 401));
    assert_eq!(state("evt_2").await, (DeliveryState::Pending, 401), "it waits for less long");
    store.postpone(CUSTOMER, wait(Timestamp::MAX)).await.expect("noted");
    assert_eq!(state("evt_2").await.0, DeliveryState::Dead);
    assert_eq!(store.due(later, 9).await.expect("read"), [""; 0]);

    // After a replay by a person, the time begins again.
    let again = store.replay("evt_1", later).await.expect("replayed").expect("there");
    assert_eq!((again.state, again.attempts), (DeliveryState::Pending, 0));
    assert_eq!(store.due(later, 9).await.expect("read"), [CUSTOMER]);
    store.postpone(CUSTOMER, wait(now().plus(day))).await.expect("noted");
    assert_eq!(state("evt_1").await, (DeliveryState::Pending, 1));
    assert!(store.replay("evt_9", now()).await.expect("answered").is_none());

    let unassigned_event = Delivery { customer: None, ..delivery("evt_3", DeliveryState::Pending) };
    store.receive(unassigned_event).await.expect("kept");
    let found = store.unassigned_events(now(), 9).await.expect("read");
    assert_eq!(found[0].waiting_since, now());
    store.postpone_unassigned("evt_3", wait(now().minus(day))).await.expect("noted");
    assert_eq!(state("evt_3").await, (DeliveryState::Pending, 1));
    store.postpone_unassigned("evt_3", wait(now())).await.expect("noted");
    assert_eq!(state("evt_3").await, (DeliveryState::Dead, 2));
}

pub(super) async fn an_operators_link_counts_and_a_customer_is_one_organizations(
    store: impl Store,
) {
    let [first, second] = [1, 2].map(organization_id);
    for number in [1, 2] {
        let made = organization(number);
        store.create_organization(&made, audit("organization.create")).await.expect("made");
    }
    let link = async |id, customer: Option<&str>| {
        let stripe_customer_id = Some(customer.map(str::to_owned));
        let patch = OrganizationPatch { stripe_customer_id, ..OrganizationPatch::default() };
        store.patch_organization(id, patch, audit("organization.update")).await
    };
    store.receive(delivery("evt_1", DeliveryState::Pending)).await.expect("kept");
    assert!(store.commit(commit(0, &["evt_1"])).await.expect("committed"));

    // A customer belongs to one organization: neither a patch nor a new organization may take it.
    let taken = link(second, Some(CUSTOMER)).await.expect_err("it is the first one's");
    assert_eq!(taken.kind, FaultKind::Conflict);
    let mut third = organization(3);
    third.stripe_customer_id = Some(CUSTOMER.into());
    let taken = store.create_organization(&third, audit("organization.create")).await;
    assert_eq!(taken.expect_err("it is the first one's").kind, FaultKind::Conflict);
    link(first, Some(CUSTOMER)).await.expect("its own it may have again");

    // The organization gets another customer: the old customer's file still names the organization.
    link(first, Some("cus_2")).await.expect("relinked");
    assert_eq!(store.customer("cus_2").await.expect("read").organization, Some(first));
    assert_eq!(store.customer(CUSTOMER).await.expect("read").organization, Some(first));
    // A commit that was decided before that fails.
    assert!(!store.commit(commit(1, &[])).await.expect("answered"), "its customer is another");
    assert_eq!(store.customer(CUSTOMER).await.expect("read").revision, 1, "nothing was written");
    let owner = Directory::organization(&store, first).await.expect("read").expect("there");
    assert_eq!(owner.stripe_customer_id.as_deref(), Some("cus_2"));
    // The old customer can be linked to another organization and begins with an empty state.
    link(second, Some(CUSTOMER)).await.expect("linked").expect("there");
    let file = store.customer(CUSTOMER).await.expect("read");
    assert_eq!((file.revision, file.organization), (1, Some(second)));
    assert_eq!(file.billing_state, BillingState::default());
    let late = BillingCommit { linked: Some("cus_2".into()), ..commit(1, &[]) };
    assert!(!store.commit(late).await.expect("answered"), "the customer is another's by now");
    let moved = BillingCommit { organization: second, ..commit(1, &[]) };
    assert!(store.commit(moved).await.expect("committed"));
    let owner = Directory::organization(&store, first).await.expect("read").expect("there");
    assert_eq!(owner.stripe_customer_id.as_deref(), Some("cus_2"), "the choice stays");
    let owner = Directory::organization(&store, second).await.expect("read").expect("there");
    assert_eq!(owner.stripe_customer_id.as_deref(), Some(CUSTOMER));
}

pub(super) async fn an_event_without_a_customer_is_finished_once(store: impl Store) {
    let kind = "v1.billing.meter.error_report_triggered";
    let thin =
        Delivery { customer: None, kind: kind.into(), ..delivery("evt_1", DeliveryState::Pending) };
    store.receive(thin).await.expect("kept");
    assert_eq!(store.unassigned_events(now(), 9).await.expect("read").len(), 1);
    store.finish("evt_1", now()).await.expect("noted");
    assert_eq!(store.unassigned_events(now(), 9).await.expect("read").len(), 0);
    let done = store.event("evt_1").await.expect("read").expect("there");
    assert_eq!((done.state, done.processed_at), (DeliveryState::Done, Some(now())));
    let again = store.replay("evt_1", now()).await.expect("replayed").expect("there");
    assert_eq!(again.state, DeliveryState::Pending, "it can be replayed without a customer");
}

pub(super) async fn invoices_come_in_pages_the_newest_first(store: impl Store) {
    let id = organization_id(1);
    store.create_organization(&organization(1), audit("organization.create")).await.expect("made");
    let invoice = |number: u64| {
        // Two of each second: their ids decide.
        let created = now().plus(Duration::from_secs(number / 2)).secs();
        let object = serde_json::json!({ "id": format!("in_{number}"), "created": created });
        InvoiceState::from_object(&object, now()).expect("it has an id")
    };
    let invoices = [3, 0, 4, 1, 2].map(invoice).to_vec();
    store.commit(BillingCommit { invoices, ..commit(0, &[]) }).await.expect("committed");
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = store.invoices(id, Page { after, limit: 2 }).await.expect("read");
        let ids: Vec<String> = page.into_iter().map(|invoice| invoice.id).collect();
        let Some(last) = ids.last() else { break };
        after = Some(last.clone());
        found.extend(ids);
    }
    assert_eq!(found, ["in_4", "in_3", "in_2", "in_1", "in_0"]);
    let other = store.invoices(organization_id(2), Page { after: None, limit: 9 }).await;
    assert!(other.expect("read").is_empty(), "another organization's");
    let unknown = Page { after: Some("in_9".into()), limit: 9 };
    assert!(store.invoices(id, unknown).await.expect("read").is_empty());
}

pub(super) async fn old_events_are_removed_once_processed(store: impl Store) {
    store.create_organization(&organization(1), audit("organization.create")).await.expect("made");
    for (event, state) in [
        ("evt_done", DeliveryState::Pending),
        ("evt_needed", DeliveryState::Pending),
        ("evt_dead", DeliveryState::Dead),
        ("evt_ignored", DeliveryState::Ignored),
    ] {
        store.receive(delivery(event, state)).await.expect("kept");
    }
    let unassigned =
        Delivery { customer: None, ..delivery("evt_unassigned", DeliveryState::Pending) };
    store.receive(unassigned).await.expect("kept");
    store.finish("evt_unassigned", now()).await.expect("done");
    assert!(store.commit(commit(0, &["evt_done", "evt_needed"])).await.expect("committed"));
    store.receive(delivery("evt_waits", DeliveryState::Pending)).await.expect("kept");

    let (young, old) = (now(), now().plus(Duration::from_secs(1)));
    assert_eq!(store.aged(young, 9).await.expect("read"), [""; 0]);
    assert_eq!(store.forget_others(young, 9).await.expect("answered"), 0);
    assert_eq!(store.aged(old, 9).await.expect("read"), [CUSTOMER]);
    let all = ["evt_done", "evt_dead", "evt_ignored", "evt_unassigned", "evt_waits"];
    let forgetting = |before| Forgetting {
        customer: CUSTOMER.into(),
        events: all.map(str::to_owned).to_vec(),
        before,
        at: now().plus(Duration::from_secs(9)),
    };
    assert_eq!(store.forget(forgetting(young)).await.expect("answered"), 0, "it is too young");
    assert_eq!(
        store.aged(old, 9).await.expect("read"),
        [CUSTOMER],
        "old events were not checked yet"
    );
    assert_eq!(store.forget(forgetting(old)).await.expect("answered"), 1, "the one that is done");
    assert_eq!(store.aged(old, 9).await.expect("read"), [""; 0], "the others were looked at");
    let later = now().plus(Duration::from_secs(10));
    assert_eq!(store.aged(later, 9).await.expect("read"), [CUSTOMER], "and will be again");
    assert_eq!(store.forget_others(old, 1).await.expect("answered"), 1, "a portion");
    assert_eq!(store.forget_others(old, 9).await.expect("answered"), 1);
    let left = store.events(None, Page { after: None, limit: 9 }).await.expect("read");
    let left: Vec<&str> = left.iter().map(|entry| &*entry.id).collect();
    assert_eq!(left, ["evt_dead", "evt_needed", "evt_waits"]);
    let again = delivery("evt_done", DeliveryState::Pending);
    assert!(store.receive(again).await.expect("kept"), "it is new, and changes nothing");
}
