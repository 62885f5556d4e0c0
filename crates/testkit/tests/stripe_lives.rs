//! I6 through the whole gateway: signed deliveries in any order, doubled, late or lost, with
//! restarts at any step, with and without calls to Stripe, result in Stripe's own state.
//!
//! `DRIFTLOCK_LIVES` sets how many lives; each is lived in [`ORDERS`] orders of arrival. Over
//! SQLite: `crates/sqlite/tests/stripe_lives.rs`.

use driftlock_domain::lease::Sharing;
use driftlock_gateway::memory::MemoryStore;
use driftlock_testkit::sim::{Asking, Course, EventContent, live};

const ORDERS: u64 = 5;

fn lives(unless_set: u64) -> u64 {
    number("DRIFTLOCK_LIVES").unwrap_or(unless_set)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// How many runs of so many lives were repaired by a comparison with Stripe, and of how many.
fn repaired(name: &str, lives: u64, askings: &[Asking], content: EventContent) -> (u64, u64) {
    let (mut repaired, mut runs) = (0, 0);
    // Lives of different seeds do not overlap.
    let first = number("DRIFTLOCK_SEED").unwrap_or(0) << 32;
    for seed in first..first + lives {
        for order in 0..ORDERS {
            for asking in askings {
                let store = MemoryStore::new(Sharing::Whole);
                runs += 1;
                let course = live(&store, seed, order, *asking, content);
                repaired += u64::from(course == Course::Repaired);
            }
        }
    }
    eprintln!("figure {name} lives = {lives}");
    eprintln!("figure {name} runs = {runs}");
    eprintln!("figure {name} runs repaired by a comparison = {repaired}");
    (repaired, runs)
}

#[test]
fn any_order_with_restarts_results_in_stripes_state() {
    let (repaired, _) =
        repaired("ordered", lives(150), &[Asking::Offline, Asking::Online], EventContent::Whole);
    assert_eq!(repaired, 0, "created and previous_attributes determine the order of all of these");
}

#[test]
fn events_without_an_order_are_repaired_by_a_reconciliation() {
    // Each run that is not right is repaired, or it fails.
    let some = lives(150) / 3;
    let (repaired, runs) =
        repaired("unordered offline", some, &[Asking::Offline], EventContent::WithoutPrevious);
    assert!(repaired > 0, "some of it has to be guessed wrongly, or this shows nothing");
    assert!(repaired < runs / 2, "whole seconds order the most of it: {repaired} of {runs}");
    let (repaired, _) = self::repaired(
        "unordered online",
        some / 5,
        &[Asking::Online],
        EventContent::WithoutPrevious,
    );
    assert_eq!(repaired, 0, "a gateway that calls Stripe needs no order");
}
