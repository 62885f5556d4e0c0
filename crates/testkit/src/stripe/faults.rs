//! The double's faults: before the effect of a call, or after it.

use driftlock_domain::stripe::sample::Entropy;

/// The fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, and the call had no effect.
    Before(u16),
    /// The call had its effect, and the answer is this status.
    After(u16),
    /// The connection breaks, and the call had no effect.
    BreakBefore,
    /// The call had its effect, and the connection breaks.
    BreakAfter,
}

/// Chooses by a seed which calls fail.
#[derive(Debug, Clone)]
pub struct Faults {
    entropy: Entropy,
    per_mille: usize,
    kinds: Vec<Fault>,
}

impl Faults {
    /// No call fails.
    #[must_use]
    pub fn none() -> Self {
        Self::of(0, 0, Vec::new())
    }

    /// `per_mille` of 1,000 calls fail in one of these ways.
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
