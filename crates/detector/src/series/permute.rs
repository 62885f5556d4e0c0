//! The permutation test of a window of symbols.
//!
//! The distance is how many more bits the window takes when it is coded after the baseline than
//! when it is coded alone: C(B‖W) − C(B) − C(W), with `C` of [`super::code`]. p is the share of
//! windows drawn from both together that have at least this distance, (1 + k) / (1 + n).

use super::code::Code;
use super::symbols::ALPHABET;
use crate::compress::entropy_bits;
use crate::prng::Prng;

/// The documented seed: equal input gives equal output.
const SEED: u64 = 42;

type Counts = [u32; ALPHABET];

/// A permutation test that can be continued.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pool: Vec<u8>,
    window: usize,
    code: Code,
    pool_counts: Counts,
    observed: f64,
    ncd: f64,
    ratio_change: f64,
    entropy_change: f64,
    prng: Prng,
    exceeding: usize,
    done: usize,
}

impl Test {
    /// Measures the symbols from `split` on against those before. `stream` gives each window
    /// different draws.
    pub(super) fn new(symbols: &[u8], split: usize, stream: u64) -> Self {
        let (baseline, window) = symbols.split_at(split);
        let (in_baseline, in_window) = (counts(baseline), counts(window));
        let pool_counts = sum(&in_baseline, &in_window);
        let alphabet = pool_counts.iter().filter(|count| **count > 0).count();
        let code = Code::new(alphabet, symbols.len());
        let (b, w) = (code.bits(&in_baseline), code.bits(&in_window));
        let both = code.bits(&pool_counts);
        let per_value = |bits: f64, values: usize| bits / 8.0 / values.max(1) as f64;
        Self {
            observed: both - b - w,
            // If nothing differs, no bits are needed, and there is no distance.
            ncd: if both > 0.0 { ((both - b.min(w)) / b.max(w)).clamp(0.0, 1.0) } else { 0.0 },
            ratio_change: per_value(w, window.len()) - per_value(b, baseline.len()),
            entropy_change: entropy_bits(window) - entropy_bits(baseline),
            pool: symbols.to_vec(),
            window: window.len(),
            code,
            pool_counts,
            prng: Prng::new(SEED, stream),
            exceeding: 0,
            done: 0,
        }
    }

    /// Permutes until `total` permutations are done or `exceeding` of them reached the observed
    /// distance. Returns how many were done now.
    pub(super) fn run(&mut self, total: usize, exceeding: usize) -> usize {
        let before = self.done;
        let least = self.observed - 1e-9;
        while self.done < total && self.exceeding < exceeding {
            for place in 0..self.window {
                let other = place + self.prng.below(self.pool.len() - place);
                self.pool.swap(place, other);
            }
            if self.excess(&counts(&self.pool[..self.window])) >= least {
                self.exceeding += 1;
            }
            self.done += 1;
        }
        self.done - before
    }

    /// The distance of a window with these counts from the rest of the pool.
    fn excess(&self, window: &Counts) -> f64 {
        let rest: Counts = std::array::from_fn(|symbol| self.pool_counts[symbol] - window[symbol]);
        self.code.bits(&self.pool_counts) - self.code.bits(&rest) - self.code.bits(window)
    }

    /// The distance of the window as it is, in bits.
    pub(super) fn observed(&self) -> f64 {
        self.observed
    }

    /// The normalized compression distance, by the same code.
    pub(super) fn ncd(&self) -> f64 {
        self.ncd
    }

    /// The window's coded share of its size, less the baseline's.
    pub(super) fn ratio_change(&self) -> f64 {
        self.ratio_change
    }

    /// The entropy of the window's symbols less the baseline's, in bits.
    pub(super) fn entropy_change(&self) -> f64 {
        self.entropy_change
    }

    /// Values in the window.
    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// Permutations done.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// (1 + k) / (1 + n) of the permutations done so far; 1 before the first.
    pub(super) fn p_value(&self) -> f64 {
        (1 + self.exceeding) as f64 / (1 + self.done) as f64
    }
}

/// The distance of the symbols in `part` from those outside it.
pub(super) fn distance(symbols: &[u8], part: std::ops::Range<usize>) -> f64 {
    let (all, within) = (counts(symbols), counts(&symbols[part]));
    let rest: Counts = std::array::from_fn(|symbol| all[symbol] - within[symbol]);
    let code = Code::new(all.iter().filter(|count| **count > 0).count(), symbols.len());
    code.bits(&all) - code.bits(&rest) - code.bits(&within)
}

/// How often each symbol occurs.
pub(super) fn counts(symbols: &[u8]) -> Counts {
    let mut counts = [0; ALPHABET];
    for symbol in symbols {
        counts[usize::from(*symbol)] += 1;
    }
    counts
}

fn sum(a: &Counts, b: &Counts) -> Counts {
    std::array::from_fn(|symbol| a[symbol] + b[symbol])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut prng = Prng::new(seed, 1);
        (0..length).map(|_| u8::try_from(prng.below(9)).expect("small")).collect()
    }

    fn p_of(symbols: &[u8], split: usize) -> f64 {
        let mut test = Test::new(symbols, split, 3);
        test.run(1_000, usize::MAX);
        test.p_value()
    }

    #[test]
    fn p_is_small_for_what_differs_and_evenly_spread_for_what_does_not() {
        let ps: Vec<f64> = (0..100).map(|seed| p_of(&noise(450, seed), 400)).collect();
        let below = |bound: f64| ps.iter().filter(|p| **p < bound).count();
        assert!(below(0.05) <= 12 && (30..=70).contains(&below(0.5)), "{ps:?}");
        let mut stuck = noise(450, 1);
        stuck[410..].fill(4);
        assert!(p_of(&stuck, 400) < 0.002);
    }

    #[test]
    fn one_symbol_alone_is_no_distance() {
        let test = Test::new(&[3; 100], 80, 0);
        assert_eq!((test.observed(), test.ncd()), (0.0, 0.0));
        assert_eq!(p_of(&[3; 100], 80), 1.0);
    }

    #[test]
    fn continuing_equals_one_go() {
        let symbols = noise(120, 5);
        let (mut one, mut two) = (Test::new(&symbols, 100, 3), Test::new(&symbols, 100, 3));
        one.run(60, usize::MAX);
        assert_eq!(two.run(25, usize::MAX) + two.run(60, usize::MAX), 60);
        assert_eq!(one.p_value(), two.p_value());
    }
}
