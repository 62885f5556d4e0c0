//! The network from Stripe to an endpoint, as Stripe documents it: at least once, in any order,
//! late.
//!
//! Time is counted in rounds. The seed decides when a delivery is attempted and what happens to
//! each attempt. The caller makes the attempts, in process or over HTTP, and reports the outcomes.
//! A delivery without a 2xx is repeated and arrives in the end, since Stripe gives up only after
//! days.

use std::collections::BTreeMap;

use driftlock_domain::stripe::sample::{Entropy, shuffle};

/// A delivery is first attempted within this many rounds.
const DELAY_TURNS: usize = 4;
/// After so many failed attempts the network disturbs a delivery no more.
const FAULTS_MAX: u32 = 6;

/// What the network does to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It arrives, and its answer comes back.
    Answered,
    /// It arrives twice at once, and both answers come back.
    Doubled,
    /// It arrives, and its answer is lost.
    AnswerLost,
    /// All of it arrives; the connection ends before the answer.
    HungUp,
    /// The connection ends while it is sent.
    CutShort,
    /// Nothing of it arrives.
    Lost,
}

/// Deliveries in transit.
#[derive(Debug)]
pub struct Network<T> {
    entropy: Entropy,
    at_once: usize,
    turn: usize,
    made: u64,
    under_way: Vec<Delivery<T>>,
    fates: BTreeMap<Fate, u64>,
}

#[derive(Debug)]
struct Delivery<T> {
    number: u64,
    what: T,
    due: usize,
    attempts: u32,
}

/// One attempt at a delivery.
#[derive(Debug, Clone)]
pub struct Attempt<T> {
    /// The delivery's number.
    pub number: u64,
    /// What is delivered.
    pub what: T,
    /// What the network does to it.
    pub fate: Fate,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx came back.
    Taken,
    /// Another answer came back, or the network lost it.
    Untaken,
    /// No server answered at the address.
    Away,
}

impl Fate {
    const BAD: [Self; 5] =
        [Self::Doubled, Self::AnswerLost, Self::HungUp, Self::CutShort, Self::Lost];
}

impl<T: Clone> Network<T> {
    /// A network without deliveries, with at most `at_once` attempts in a round.
    #[must_use]
    pub fn new(seed: u64, at_once: usize) -> Self {
        Self {
            entropy: Entropy::new(seed),
            at_once,
            turn: 0,
            made: 0,
            under_way: Vec::new(),
            fates: BTreeMap::new(),
        }
    }

    /// Adds a delivery.
    pub fn carry(&mut self, what: T) {
        let due = self.turn + self.entropy.below(DELAY_TURNS);
        self.made += 1;
        self.under_way.push(Delivery { number: self.made, what, due, attempts: 0 });
    }

    /// The attempts of the next round: some of those that are due, in another order. The caller
    /// reports the outcome of each.
    pub fn round(&mut self) -> Vec<Attempt<T>> {
        self.turn += 1;
        let is_due = |place: &usize| self.under_way[*place].due <= self.turn;
        let mut due: Vec<usize> = (0..self.under_way.len()).filter(is_due).collect();
        shuffle(&mut due, self.entropy.number());
        due.truncate(self.entropy.below(self.at_once + 1));
        due.into_iter().map(|place| self.attempt(place)).collect()
    }

    /// Notes the outcome of an attempt.
    pub fn report(&mut self, number: u64, outcome: Outcome) {
        let found = self.under_way.iter().position(|delivery| delivery.number == number);
        let Some(place) = found else { return };
        if outcome == Outcome::Taken {
            self.under_way.swap_remove(place);
            return;
        }
        let delivery = &mut self.under_way[place];
        delivery.due = self.turn + 1 + self.entropy.below(1 << delivery.attempts.min(3));
        if outcome == Outcome::Away {
            delivery.attempts -= 1;
        }
    }

    /// The most attempts that any delivery in transit had; `None` if there is none.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        self.under_way.iter().map(|delivery| delivery.attempts).max()
    }

    /// How many attempts had each fate.
    #[must_use]
    pub const fn fates(&self) -> &BTreeMap<Fate, u64> {
        &self.fates
    }

    fn attempt(&mut self, place: usize) -> Attempt<T> {
        let delivery = &mut self.under_way[place];
        delivery.attempts += 1;
        // About one of two attempts succeeds.
        let fate = Fate::BAD.get(self.entropy.below(2 * Fate::BAD.len())).copied();
        let fate = fate.filter(|_| delivery.attempts <= FAULTS_MAX).unwrap_or(Fate::Answered);
        *self.fates.entry(fate).or_default() += 1;
        Attempt { number: delivery.number, what: delivery.what.clone(), fate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arrivals of 100 deliveries, in order.
    fn arrivals(seed: u64) -> Vec<u8> {
        let mut network = Network::new(seed, 5);
        (0..100).for_each(|what| network.carry(what));
        let mut arrived = Vec::new();
        while network.attempts().is_some() {
            for attempt in network.round() {
                let (times, outcome) = match attempt.fate {
                    Fate::Answered => (1, Outcome::Taken),
                    Fate::Doubled => (2, Outcome::Taken),
                    Fate::AnswerLost | Fate::HungUp => (1, Outcome::Untaken),
                    Fate::CutShort => (0, Outcome::Untaken),
                    Fate::Lost => (0, Outcome::Away),
                };
                arrived.extend(std::iter::repeat_n(attempt.what, times));
                network.report(attempt.number, outcome);
            }
        }
        assert_eq!(network.fates().len(), 6, "every fate: {:?}", network.fates());
        arrived
    }

    #[test]
    fn everything_arrives_in_another_order_and_some_of_it_again() {
        let arrived = arrivals(1);
        assert!(arrived.len() > 120 && !arrived.is_sorted(), "{arrived:?}");
        let mut each = arrived.clone();
        each.sort_unstable();
        each.dedup();
        assert_eq!(each, (0..100).collect::<Vec<u8>>());
        assert_eq!(arrived, arrivals(1), "the seed decides");
        assert_ne!(arrived, arrivals(2));
    }
}
