//! An organization's customer at Stripe: created once even if Stripe fails, created again after it
//! was deleted, and replaced only if it is not active.

use std::time::Duration;

use driftlock_domain::lease::Sharing;
use driftlock_domain::organization::SubscriptionStatus;
use driftlock_domain::stripe::delivery::DeliveryState;
use driftlock_domain::stripe::sample::{ApiShape, Life, LifeParams, SamplePrice, Scenario};
use driftlock_gateway::memory::MemoryStore;
use driftlock_gateway::ports::{AuditLog, Clock, Directory, EventInbox, Page};
use driftlock_testkit::clock::VirtualClock;
use driftlock_testkit::make::{audit, now, organization, organization_id};
use driftlock_testkit::sim::{Asking, Sim, config, run};
use driftlock_testkit::stripe::{Fault, Faults, StripeDouble};
use serde_json::{Value, json};

const BOTH: [Asking; 2] = [Asking::Online, Asking::Offline];

struct World {
    store: MemoryStore,
    clock: VirtualClock,
    double: StripeDouble,
}

impl World {
    fn new() -> Self {
        let (store, clock) = (MemoryStore::new(Sharing::Whole), VirtualClock::at(now()));
        let of_double = clock.clone();
        let double = StripeDouble::new(3, move || of_double.now());
        let made = organization(1);
        run(store.create_organization(&made, audit("organization.create"))).expect("made");
        Self { store, clock, double }
    }

    fn start(&self, asking: Asking) -> Sim<MemoryStore> {
        Sim::start(&self.store, &self.clock, &self.double, asking, &config())
    }

    /// A life of organization 1 that signed up and pays, with this customer.
    fn life(&self, seed: u64, customer: Option<String>) -> Life {
        let price = |plan: &str, cents| SamplePrice { id: format!("price_{plan}"), cents };
        let life = Scenario::Signup.life(LifeParams {
            seed,
            shape: ApiShape::Basil,
            livemode: false,
            organization: organization_id(1).to_string(),
            customer,
            price: price("standard", 4_900),
            upgrade: price("growth", 24_900),
            start: self.clock.now(),
        });
        self.clock.advance(life.now().since(self.clock.now()));
        life
    }

    /// Delivers a life's events from an index on, in this order, and processes them.
    fn deliver(&self, process: &Sim<MemoryStore>, life: &Life, from: usize) {
        self.double.put(life);
        for event in &life.events()[from..] {
            assert_eq!(run(process.deliver(event.to_string().as_bytes())), 200);
            process.later.finish();
        }
    }

    fn customer(&self) -> Option<String> {
        let found = run(self.store.organization(organization_id(1))).expect("read");
        found.expect("there").stripe_customer_id
    }

    fn status(&self) -> Option<SubscriptionStatus> {
        let found = run(self.store.organization(organization_id(1))).expect("read");
        found.expect("there").bought().first().map(|bought| bought.status.clone())
    }

    fn in_state(&self, state: DeliveryState) -> usize {
        let page = Page { after: None, limit: 1_000 };
        run(self.store.events(Some(state), page)).expect("read").len()
    }

    fn actions(&self) -> Vec<String> {
        let entries = run(self.store.entries(organization_id(1), 0, 999)).expect("read");
        entries.iter().map(|entry| entry.record.action.to_string()).collect()
    }
}

fn checkout(process: &Sim<MemoryStore>) -> (u16, Value) {
    let path = format!("/organizations/{}/checkout", organization_id(1));
    let body = json!({
        "plan": "standard",
        "success_url": "https://app.example.com/thanks",
        "cancel_url": "https://app.example.com/",
    });
    run(process.admin("POST", &path, &body))
}

/// Stripe repeats its answer to an idempotency key for a day, even a failure.
#[test]
fn a_failure_at_stripe_does_not_last_for_a_day() {
    for status in [500, 502, 503] {
        let world = World::new();
        let process = world.start(Asking::Online);
        world.double.set_faults(Faults::of(1, 1_000, vec![Fault::After(status)]));
        let (failed, _) = checkout(&process);
        assert_eq!(failed, 503, "every call failed with {status}");
        world.double.set_faults(Faults::none());
        // A restart loses nothing that matters.
        let process = world.start(Asking::Online);
        world.clock.advance(Duration::from_secs(60));
        let (made, answer) = checkout(&process);
        assert_eq!(made, 201, "{answer}");
        assert_eq!(world.customer().as_deref(), answer["stripe_customer_id"].as_str());
        let (again, other) = checkout(&process);
        assert_eq!((again, &other["stripe_customer_id"]), (201, &answer["stripe_customer_id"]));
        assert_ne!(other["id"], answer["id"], "each call makes another session");
    }
}

/// It is unknown whether the customer was created: repeating the call with the same key and
/// parameters finds out.
#[test]
fn a_customer_whose_answer_was_lost_is_made_once() {
    let world = World::new();
    let process = world.start(Asking::Online);
    world.double.set_faults(Faults::of(1, 1_000, vec![Fault::BreakAfter]));
    assert_eq!(checkout(&process).0, 503);
    world.double.set_faults(Faults::none());
    let process = world.start(Asking::Online);
    assert_eq!(checkout(&process).0, 201);
    assert_eq!(world.double.customers().len(), 1, "{:?}", world.double.customers());
}

#[test]
fn a_rename_after_lost_answers_does_not_prevent_a_checkout() {
    let world = World::new();
    let process = world.start(Asking::Online);
    world.double.set_faults(Faults::of(1, 1_000, vec![Fault::BreakAfter]));
    assert_eq!(checkout(&process).0, 503);
    world.double.set_faults(Faults::none());
    let path = format!("/organizations/{}", organization_id(1));
    let (renamed, _) = run(process.admin("PATCH", &path, &json!({ "name": "Another" })));
    assert_eq!(renamed, 200);
    let (made, answer) = checkout(&process);
    assert_eq!(made, 201, "{answer}");
}

#[test]
fn after_its_customer_was_deleted_an_organization_buys_with_a_new_one() {
    let world = World::new();
    let process = world.start(Asking::Online);
    let mut old = world.life(3, None);
    world.deliver(&process, &old, 0);
    assert_eq!(world.status(), Some(SubscriptionStatus::Active));
    let delivered = old.events().len();
    old.wait(Duration::from_secs(60));
    old.delete_customer();
    world.clock.advance(old.now().since(world.clock.now()));
    world.deliver(&process, &old, delivered);
    assert_eq!(world.status(), Some(SubscriptionStatus::Canceled));
    let path = format!("/organizations/{}/portal", organization_id(1));
    let body = json!({ "return_url": "https://app.example.com/" });
    let (portal, why) = run(process.admin("POST", &path, &body));
    assert_eq!(portal, 409, "{why}");
    assert!(why["detail"].as_str().is_some_and(|text| text.contains("deleted")), "{why}");

    let (made, answer) = checkout(&process);
    assert_eq!(made, 201, "{answer}");
    let customer = answer["stripe_customer_id"].as_str().expect("an id").to_owned();
    assert_ne!(customer, old.customer());
    assert_eq!(world.customer(), Some(customer.clone()));
    let new = world.life(4, Some(customer.clone()));
    world.deliver(&process, &new, 0);
    assert_eq!(world.status(), Some(SubscriptionStatus::Active));
    // Late events of the old customer change nothing and do not wait.
    let paid = |event: &&Value| event["type"] == "invoice.paid";
    let mut late = old.events().iter().find(paid).expect("it paid").clone();
    late["id"] = "evt_late".into();
    assert_eq!(run(process.deliver(late.to_string().as_bytes())), 200);
    process.later.finish();
    assert_eq!(
        (world.status(), world.customer()),
        (Some(SubscriptionStatus::Active), Some(customer))
    );
    assert_eq!(world.in_state(DeliveryState::Pending), 0);
    assert_eq!(world.in_state(DeliveryState::Dead), 0);
}

/// A payment link or a pricing table creates another customer and names the organization.
#[test]
fn a_new_customer_with_the_right_reference_takes_over_from_one_that_is_gone() {
    for asking in BOTH {
        for is_deleted in [true, false] {
            let world = World::new();
            let process = world.start(asking);
            let mut old = world.life(3, None);
            if is_deleted {
                old.delete_customer()
            } else {
                old.cancel()
            }
            world.deliver(&process, &old, 0);
            assert_eq!(world.customer().as_deref(), Some(old.customer()));
            let new = world.life(4, None);
            world.deliver(&process, &new, 0);
            assert_eq!(world.customer().as_deref(), Some(new.customer()), "{asking:?}");
            assert_eq!(world.status(), Some(SubscriptionStatus::Active), "{asking:?}");
            assert_eq!(world.in_state(DeliveryState::Pending), 0);
            let moves = |action: &&String| *action == "billing.customer_changed";
            assert_eq!(world.actions().iter().filter(moves).count(), 1);
        }
    }
}

#[test]
fn a_strangers_checkout_takes_no_organization_from_its_living_customer() {
    for asking in BOTH {
        let world = World::new();
        let process = world.start(asking);
        let mut own = world.life(3, None);
        world.deliver(&process, &own, 0);
        let stranger = world.life(4, None);
        world.deliver(&process, &stranger, 0);
        assert_eq!(world.customer().as_deref(), Some(own.customer()), "{asking:?}");
        assert_eq!(world.in_state(DeliveryState::Pending), stranger.events().len());
        // Not even while the customer's payment fails.
        let delivered = own.events().len();
        own.wait(Duration::from_secs(31 * 86_400));
        own.renew();
        own.fail();
        world.clock.advance(own.now().since(world.clock.now()));
        world.deliver(&process, &own, delivered);
        assert_eq!(world.status(), Some(SubscriptionStatus::PastDue), "{asking:?}");
        run(process.gateway.process_due_events());
        assert_eq!(world.customer().as_deref(), Some(own.customer()), "{asking:?}");
    }
}
