//! What the network does to deliveries: another order, and some of them twice.

use super::Entropy;

/// Another order, which follows from the seed (Fisher and Yates).
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut entropy = Entropy::new(seed);
    for last in (1..items.len()).rev() {
        items.swap(last, entropy.below(last + 1));
    }
}

/// About every third item once more, at a later place; which and where follow from the seed.
#[must_use]
pub fn duplicate<T: Clone>(items: Vec<T>, seed: u64) -> Vec<T> {
    let mut entropy = Entropy::new(seed);
    let mut delivered = items.clone();
    for item in items {
        if entropy.below(3) == 0 {
            let length = delivered.len();
            delivered.insert(length - entropy.below(length / 2 + 1), item);
        }
    }
    delivered
}
