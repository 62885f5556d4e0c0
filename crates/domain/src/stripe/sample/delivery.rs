//! What a network does to deliveries: it reorders them and repeats some.

use super::Entropy;

/// Shuffles the items in an order derived from the seed (Fisher-Yates).
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut entropy = Entropy::new(seed);
    for last in (1..items.len()).rev() {
        items.swap(last, entropy.below(last + 1));
    }
}

/// Repeats about every third item at a later place; the seed decides which and where.
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
