//! The length of symbols under an adaptive code, in bits.
//!
//! The code is Krichevsky and Trofimov's: each symbol takes −log₂ of its estimated probability,
//! (count so far + ½) / (all so far + alphabet / 2), so it learns a distribution as it goes, as any
//! compressor does. zstd measures whole bytes, and its frame and tables take more of them than the
//! difference between fifty symbols. The length depends only on the counts, so two tables give it.

/// The lengths of all sequences up to a length over one alphabet.
#[derive(Clone, Debug)]
pub(super) struct Code {
    /// Σ log₂(i + ½) for i below the index.
    of_count: Vec<f64>,
    /// Σ log₂(i + alphabet / 2) for i below the index.
    of_total: Vec<f64>,
}

impl Code {
    /// For sequences of at most `length_max` symbols.
    pub(super) fn new(alphabet: usize, length_max: usize) -> Self {
        let sums = |offset: f64| {
            let mut sum = 0.0;
            let mut sums = vec![0.0];
            sums.extend((0..length_max).map(|i| {
                sum += (i as f64 + offset).log2();
                sum
            }));
            sums
        };
        Self { of_count: sums(0.5), of_total: sums(alphabet as f64 / 2.0) }
    }

    /// The bits of any sequence with these counts of its symbols.
    pub(super) fn bits(&self, counts: &[u32]) -> f64 {
        let total: u32 = counts.iter().sum();
        let own: f64 = counts.iter().map(|&count| self.of_count[count as usize]).sum();
        self.of_total[total as usize] - own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_coding_one_after_the_other() {
        let sequence = [0, 1, 1, 2, 0, 1, 1];
        let (mut counts, mut bits) = ([0_u32; 3], 0.0);
        for (before, symbol) in sequence.into_iter().enumerate() {
            bits -= ((f64::from(counts[symbol]) + 0.5) / (before as f64 + 1.5)).log2();
            counts[symbol] += 1;
        }
        let code = Code::new(3, 7);
        assert!((code.bits(&counts) - bits).abs() < 1e-9);
        assert_eq!(code.bits(&[0, 0, 0]), 0.0);
        assert!(code.bits(&[7, 0, 0]) < code.bits(&[3, 2, 2]), "what repeats is short");
    }
}
