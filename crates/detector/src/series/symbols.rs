//! Maps prediction errors to a few symbols.
//!
//! The cuts between symbols are quantiles of baseline and window together. So they do not depend on
//! which values belong to the window, and a permutation test on the symbols stays fair. The cuts
//! are closer in the tails: nine spikes among 450 values are two percent of them, and must get a
//! separate symbol.

/// The cuts, as shares of the values.
const CUTS: [f64; 10] = [0.005, 0.02, 0.05, 0.15, 0.35, 0.65, 0.85, 0.95, 0.98, 0.995];
/// Symbols are below this: between two cuts, or on one.
pub(super) const ALPHABET: usize = 2 * CUTS.len() + 1;

/// The symbol of each value. Equal values get equal ones, and a greater value never a lesser one.
pub(super) fn symbols(values: &[f64]) -> Vec<u8> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let cuts = CUTS.map(|share| cut(&sorted, share));
    let symbol = |value: &f64| {
        // Only values that occur many times are equal to a cut: a constant, or a very frequent one.
        let below = cuts.partition_point(|cut| cut < value);
        let to = cuts.partition_point(|cut| cut <= value);
        u8::try_from(below + to).expect("fewer cuts than that")
    };
    values.iter().map(symbol).collect()
}

/// Between the neighbours at `share`: equal to a value only where both are.
fn cut(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = (share * sorted.len() as f64).round() as usize;
    let (low, high) = (sorted[at.saturating_sub(1).min(last)], sorted[at.min(last)]);
    low + (high - low) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_one_symbol_and_what_leaves_it_another_on_either_side() {
        let mut values = vec![7.0; 100];
        assert!(symbols(&values).iter().all(|symbol| *symbol == symbols(&values)[0]));
        values.extend([9.0, 5.0]);
        let found = symbols(&values);
        assert!(found[101] < found[0] && found[0] < found[100], "{found:?}");
    }

    #[test]
    fn symbols_are_in_the_order_of_the_values_and_below_the_alphabet() {
        let values: Vec<f64> = (0..450).map(|i| f64::from(i * 7_919 % 450) - 200.0).collect();
        let found = symbols(&values);
        for (value, symbol) in values.iter().zip(&found) {
            assert!(usize::from(*symbol) < ALPHABET);
            assert!(values.iter().zip(&found).all(|(v, s)| v < value || s >= symbol));
        }
        assert_eq!(found.iter().collect::<std::collections::BTreeSet<_>>().len(), CUTS.len() + 1);
    }
}
