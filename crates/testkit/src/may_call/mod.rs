//! Tests who may call against a second implementation of the rule. Random histories of a customer
//! go through the whole gateway over a store, and the resulting decision is compared with the table
//! in `docs/stripe.md`, applied to the history itself. The second implementation (`oracle.rs`)
//! shares no code with the decision under test and reads no events, only what really happened.

mod history;
mod objects;
mod oracle;

use std::time::Duration;

use driftlock_domain::config::Config;
use driftlock_domain::entitlement::decide;
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::stripe::sample::{Entropy, duplicate, shuffle};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::Clock;

use crate::clock::VirtualClock;
use crate::make::{audit, now, organization};
use crate::sim::{Asking, Sim, SimStore, config, run};
use crate::stripe::StripeDouble;
use history::History;
use oracle::Answer;

/// Instants at which each history is decided, in seconds after its last event.
const ASKED_AT_SECS: [u64; 8] =
    [0, 86_400, 7 * 86_400 - 1, 7 * 86_400, 15 * 86_400, 40 * 86_400, 100 * 86_400, 400 * 86_400];

/// The number of compared decisions, and of refusals among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Decisions that were compared.
    pub decisions: u64,
    /// Refusals among them.
    pub refused: u64,
}

/// The seeds of the histories to be checked, from `DRIFTLOCK_SEED` on: `DRIFTLOCK_HISTORIES` of
/// them, or the given number.
#[must_use]
pub fn histories(unless_set: u64) -> std::ops::Range<u64> {
    let set = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = set("DRIFTLOCK_SEED").unwrap_or(1).wrapping_mul(1_000_000);
    first..first + set("DRIFTLOCK_HISTORIES").unwrap_or(unless_set)
}

/// Delivers the history of a seed to a gateway over a new store, and compares every decision.
///
/// # Panics
/// When a decision differs from the table.
pub fn check<S: SimStore>(store: &S, seed: u64) -> Asked {
    let mut random = Entropy::new(seed);
    let made = Organization {
        plan: ["developer", "standard"][random.below(2)].to_owned(),
        ..organization(1)
    };
    let history = History::random(seed, made.id, &mut random);
    let config = history.config(config());
    tell(store, &made, &history, &config, &mut random);
    let kept = run(store.organization(made.id)).expect("read").expect("it is there");
    assert_eq!(kept.plan, made.plan, "seed {seed}: a purchase changes no organization's own plan");
    let mut asked = Asked::default();
    for secs in ASKED_AT_SECS {
        let at = history.end().plus(Duration::from_secs(secs));
        let expected = oracle::answer(&history, &made.plan, at);
        let found = found(&kept, &config, at);
        assert_eq!(found, expected, "seed {seed}, {secs} s after\n{history:#?}\n{kept:#?}");
        asked.decisions += 1;
        asked.refused += u64::from(found.verdict.is_err());
    }
    asked
}

/// Delivers a history's events in random order and some twice, while operators change the contract.
fn tell<S: SimStore>(
    store: &S,
    made: &Organization,
    history: &History,
    config: &Config,
    random: &mut Entropy,
) {
    run(store.create_organization(made, audit("organization.create"))).expect("made");
    let clock = VirtualClock::at(now());
    clock.advance(history.end().since(clock.now()));
    let double = StripeDouble::new(1, now);
    let sim = Sim::start(store, &clock, &double, Asking::Offline, config);
    let seed = random.below(1 << 30) as u64;
    let mut events = duplicate(history.events().to_vec(), seed);
    shuffle(&mut events, seed);
    let mut patches = history.patches().to_vec();
    patches.reverse();
    let patch = |patch: OrganizationPatch| {
        run(store.patch_organization(made.id, patch, audit("organization.update"))).expect("set");
    };
    for event in events {
        assert_eq!(run(sim.deliver(event.to_string().as_bytes())), 200);
        if random.below(3) == 0 {
            sim.later.finish();
        }
        if random.below(4) == 0
            && let Some(next) = patches.pop()
        {
            patch(next);
        }
    }
    patches.into_iter().rev().for_each(patch);
    sim.later.finish();
    for _ in 0..3 {
        run(sim.gateway.process_due_events());
        clock.advance(Duration::from_secs(3_600));
    }
}

fn found(kept: &Organization, config: &Config, at: Timestamp) -> Answer {
    let decision = decide(kept, config, at);
    Answer {
        verdict: decision.verdict,
        shown: decision.shown.as_ref().map(|shown| shown.id.to_owned()),
        plan: decision.plan.to_owned(),
        quantity: decision.quantity,
        period: decision.period,
    }
}
