//! The way from Stripe to an endpoint, as it is documented: at least once, in any order, late.

use driftlock_domain::stripe::sample::{Entropy, Life, shuffle};
use serde_json::Value;

/// Deliveries under way; what becomes of each follows from the seed.
#[derive(Debug)]
pub struct Network {
    entropy: Entropy,
    pending: Vec<Value>,
    told: usize,
}

impl Network {
    /// One in which nothing is under way.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { entropy: Entropy::new(seed), pending: Vec::new(), told: 0 }
    }

    /// What happened in the one life that it carries since it was told last is under way.
    pub fn carry(&mut self, life: &Life) {
        self.pending.extend_from_slice(&life.events()[self.told..]);
        self.told = life.events().len();
    }

    /// Some of what is under way arrives, in another order. Of every fourth delivery the answer is
    /// lost on its way back, so that it comes again.
    pub fn arrivals(&mut self) -> Vec<Value> {
        let mut arrived = Vec::new();
        for _ in 0..self.entropy.below(4) {
            if self.pending.is_empty() {
                break;
            }
            let place = self.entropy.below(self.pending.len());
            arrived.push(match self.entropy.below(4) {
                0 => self.pending[place].clone(),
                _ => self.pending.swap_remove(place),
            });
        }
        arrived
    }

    /// All that is left arrives, in another order.
    pub fn rest(&mut self) -> Vec<Value> {
        let mut rest = std::mem::take(&mut self.pending);
        shuffle(&mut rest, self.entropy.below(1 << 30) as u64);
        rest
    }
}
