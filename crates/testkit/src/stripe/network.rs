//! The way from Stripe to an endpoint, as it is documented: at least once, in any order, late.
//!
//! Time is counted in turns. When a delivery is tried and what becomes of each attempt follow from the
//! seed; whoever carries the attempts, in process or over HTTP, reports the answers. What got no 2xx
//! comes again, and is let through at last, since Stripe gives up only after days.

use std::collections::BTreeMap;

use driftlock_domain::stripe::sample::{Entropy, shuffle};

/// Turns that pass before a delivery is tried first: fewer than this.
const DELAY_TURNS: usize = 4;
/// After so many attempts in vain nothing is in the way any more.
const FAULTS_MAX: u32 = 6;

/// What the way does to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It arrives, and its answer comes back.
    Answered,
    /// It arrives twice at once, and both answers come back.
    Doubled,
    /// It arrives, and its answer is lost on the way back.
    AnswerLost,
    /// All of it is sent; the connection ends before the answer.
    HungUp,
    /// The connection ends in the midst of it.
    CutShort,
    /// Nothing of it arrives.
    Lost,
}

/// Deliveries under way.
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
    /// What becomes of it.
    pub fate: Fate,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx came back.
    Taken,
    /// Another answer did, or the way lost it.
    Untaken,
    /// Nobody was there.
    Away,
}

impl Fate {
    const BAD: [Self; 5] =
        [Self::Doubled, Self::AnswerLost, Self::HungUp, Self::CutShort, Self::Lost];
}

impl<T: Clone> Network<T> {
    /// One in which nothing is under way, and a turn has at most so many attempts.
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

    /// Something is to be delivered.
    pub fn carry(&mut self, what: T) {
        let due = self.turn + self.entropy.below(DELAY_TURNS);
        self.made += 1;
        self.under_way.push(Delivery { number: self.made, what, due, attempts: 0 });
    }

    /// The next turn: some of what is due, in another order. Each attempt is to be reported.
    pub fn turn(&mut self) -> Vec<Attempt<T>> {
        self.turn += 1;
        let is_due = |place: &usize| self.under_way[*place].due <= self.turn;
        let mut due: Vec<usize> = (0..self.under_way.len()).filter(is_due).collect();
        shuffle(&mut due, self.entropy.number());
        due.truncate(self.entropy.below(self.at_once + 1));
        due.into_iter().map(|place| self.attempt(place)).collect()
    }

    /// What became of an attempt.
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

    /// How often what is under way was tried already, at most; `None` when nothing is.
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
        // Of two attempts one or so goes well.
        let fate = Fate::BAD.get(self.entropy.below(2 * Fate::BAD.len())).copied();
        let fate = fate.filter(|_| delivery.attempts <= FAULTS_MAX).unwrap_or(Fate::Answered);
        *self.fates.entry(fate).or_default() += 1;
        Attempt { number: delivery.number, what: delivery.what.clone(), fate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives of 100 deliveries, in order.
    fn arrivals(seed: u64) -> Vec<u8> {
        let mut network = Network::new(seed, 5);
        (0..100).for_each(|what| network.carry(what));
        let mut arrived = Vec::new();
        while network.attempts().is_some() {
            for attempt in network.turn() {
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
        assert_eq!(network.fates().len(), 6, "every fate there is: {:?}", network.fates());
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
        assert_eq!(arrived, arrivals(1), "a seed decides it");
        assert_ne!(arrived, arrivals(2));
    }
}
