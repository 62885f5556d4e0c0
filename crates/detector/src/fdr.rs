//! Benjamini–Hochberg: adjusts p-values for the number of windows.

/// Adjusts the p-values of the tested windows, in the given order. `family` is the number of
/// windows that the false discovery rate is controlled over. Those that were not tested count as
/// p = 1, so not testing a window never makes another finding easier.
pub fn adjust(p_values: &[f64], family: usize) -> Vec<f64> {
    let family = family.max(p_values.len()) as f64;
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0_f64; p_values.len()];
    let mut least = 1.0_f64;
    for (rank, index) in order.into_iter().enumerate().rev() {
        least = least.min(p_values[index] * family / (rank + 1) as f64);
        adjusted[index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_procedure_worked_by_hand() {
        let adjusted = adjust(&[0.04, 0.01, 0.03, 0.005], 4);
        let expected = [0.04, 0.02, 0.04, 0.02];
        for (got, want) in adjusted.iter().zip(expected) {
            assert!((got - want).abs() < 1e-12, "{adjusted:?}");
        }
    }

    #[test]
    fn untested_windows_count() {
        assert_eq!(adjust(&[0.01], 10), [0.1]);
        assert_eq!(adjust(&[0.5], 10), [1.0]);
        assert!(adjust(&[], 3).is_empty());
    }
}
