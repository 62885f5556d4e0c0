//! How the double fails: before it did what was asked for, or after.

use driftlock_domain::stripe::sample::Entropy;

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, and nothing was done.
    Before(u16),
    /// It was done, and the answer is this status.
    After(u16),
    /// The connection breaks, and nothing was done.
    BreakBefore,
    /// It was done, and the connection breaks.
    BreakAfter,
}

/// Which calls fail, by a seed.
#[derive(Debug, Clone)]
pub struct Faults {
    entropy: Entropy,
    per_mille: usize,
    kinds: Vec<Fault>,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::of(0, 0, Vec::new())
    }

    /// So many of 1,000 calls fail in one of these ways.
    #[must_use]
    pub fn of(seed: u64, per_mille: usize, kinds: Vec<Fault>) -> Self {
        Self { entropy: Entropy::new(seed), per_mille, kinds }
    }

    pub(super) fn next(&mut self) -> Option<Fault> {
        if self.kinds.is_empty() || self.entropy.below(1_000) >= self.per_mille {
            return None;
        }
        Some(self.kinds[self.entropy.below(self.kinds.len())])
    }
}
