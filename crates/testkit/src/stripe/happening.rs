//! Random events in a life, and the billing state that they must lead to.

use std::time::Duration;

use driftlock_domain::stripe::account::{Account, BillingState};
use driftlock_domain::stripe::apply::{Fetched, Lived, lived, open_disputes};
use driftlock_domain::stripe::event::{Event, EventKind};
use driftlock_domain::stripe::invoices::InvoiceState;
use driftlock_domain::stripe::prices::PriceMap;
use driftlock_domain::stripe::sample::{ApiShape, Entropy, Life, Start};
use driftlock_domain::stripe::subscription::SubscriptionState;
use serde_json::Value;

/// The longest time between two deeds, in seconds.
pub const PAUSE_SECS_MAX: u32 = 3_000_000;

/// Lets time pass, mostly none, so that several things happen in one second.
pub fn time_passes(life: &mut Life, deeds: &mut Entropy) {
    let secs = match deeds.below(4) {
        0 | 1 => 0,
        2 => 1 + deeds.below(2),
        _ => deeds.below(PAUSE_SECS_MAX as usize),
    };
    life.wait(Duration::from_secs(secs as u64));
}

/// Makes one random event: by the customer, its bank or Stripe.
pub fn something_happens(life: &mut Life, deeds: &mut Entropy) {
    let (standard, growth) = (life.params().price.clone(), life.params().upgrade.clone());
    match deeds.below(18) {
        0 => {
            life.cancel();
            let starts = [Start::Paid, Start::Unpaid, Start::Trial(14)];
            life.subscribe(&standard, starts[deeds.below(3)]);
        }
        1 | 2 => life.change_price(&growth),
        3 => life.change_price(&standard),
        4 | 5 => life.renew(),
        6 | 7 => life.pay(),
        8 | 9 => life.fail(),
        10 => life.give_up(),
        11 => life.pause(),
        12 => life.resume(),
        13 => life.schedule_cancellation(),
        14 => life.withdraw_cancellation(),
        15 => life.checkout(),
        16 => life.write_off(),
        _ => match deeds.below(5) {
            0 => life.cancel(),
            1 => life.void(),
            2 => life.announce_trial_end(),
            3 => life.dispute(),
            _ => life.set_shape(ApiShape::ALL[deeds.below(3)]),
        },
    }
}

/// The true billing state, from Stripe's own objects.
///
/// # Panics
/// If a life has a price that buys no plan.
#[must_use]
pub fn truth(life: &Life, grace: Duration) -> BillingState {
    let prices = PriceMap::default();
    let state = |object: &Value| SubscriptionState::from_object(object, &prices).expect("mapped");
    let subscriptions: Vec<SubscriptionState> =
        life.subscriptions().iter().map(|found| state(&found.render(ApiShape::Basil))).collect();
    let invoices: Vec<InvoiceState> = life
        .invoices()
        .iter()
        .map(|found| {
            let state = InvoiceState::from_object(&found.render(ApiShape::Basil), life.now());
            let first_failure_at = found.first_failure_at;
            InvoiceState { first_failure_at, ..state.expect("it has an id") }
        })
        .collect();
    let events = life.events().iter();
    let events: Vec<Event> =
        events.map(|event| Event::parse(event.to_string().as_bytes()).expect("an event")).collect();
    let of = |kind: EventKind| events.iter().filter(move |event| event.kind == kind);
    let noticed = of(EventKind::TrialWillEnd)
        .filter_map(|event| event.subject().subscription().map(str::to_owned));
    let disputes = open_disputes(&events);
    BillingState::of(Account {
        subscriptions: &subscriptions,
        invoices: &invoices,
        trial_notices: &noticed.collect::<Vec<_>>(),
        disputes: &disputes,
        customer_deleted: of(EventKind::CustomerDeleted).next().is_some(),
        proven_live: lived(&events, &Fetched::default(), |_| true) == Lived::Proven,
        grace,
    })
}
