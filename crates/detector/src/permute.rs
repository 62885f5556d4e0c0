//! The permutation test: is a window further from its baseline than chance would put it?
//!
//! Baseline and window are pooled, shuffled and split again; p is the share of splits whose NCD
//! is at least the observed one, p = (1 + k) / (1 + n). A test keeps its generator, so that it
//! can be continued where it stopped and the result is the same as from one go.

use crate::compress::Meter;
use crate::prng::Prng;

/// The documented seed: equal input gives equal output.
const SEED: u64 = 42;

/// Joins masked events line by line into one reused buffer.
#[derive(Default)]
pub struct Joined {
    bytes: Vec<u8>,
}

impl Joined {
    /// The events of `baseline` and then of `window`, one per line, and where the window starts.
    pub fn fill<'a>(
        &mut self,
        baseline: impl Iterator<Item = &'a str>,
        window: impl Iterator<Item = &'a str>,
    ) -> (&[u8], usize) {
        self.bytes.clear();
        baseline.for_each(|line| self.push(line));
        let split = self.bytes.len();
        window.for_each(|line| self.push(line));
        (&self.bytes, split)
    }

    fn push(&mut self, line: &str) {
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
    }
}

/// A permutation test that can be continued.
#[derive(Debug)]
pub struct PermutationTest<'a> {
    pool: Vec<&'a str>,
    baseline: usize,
    observed: f64,
    prng: Prng,
    exceeding: usize,
    done: usize,
}

impl<'a> PermutationTest<'a> {
    /// A test of `window` against `baseline`, whose distance is `observed`. `stream` keeps the
    /// shuffles of different windows apart.
    pub fn new(
        baseline: impl Iterator<Item = &'a str>,
        window: impl Iterator<Item = &'a str>,
        observed: f64,
        stream: u64,
    ) -> Self {
        let mut pool: Vec<&str> = baseline.collect();
        let baseline = pool.len();
        pool.extend(window);
        Self { pool, baseline, observed, prng: Prng::new(SEED, stream), exceeding: 0, done: 0 }
    }

    /// Permutes until `total` permutations are done or `exceeding` of them reached the observed
    /// distance, whichever comes first. Returns how many were done now.
    pub fn run(
        &mut self,
        total: usize,
        exceeding: usize,
        meter: &mut Meter,
        joined: &mut Joined,
    ) -> usize {
        let before = self.done;
        while self.done < total && self.exceeding < exceeding {
            self.prng.shuffle(&mut self.pool);
            let (baseline, window) = self.pool.split_at(self.baseline);
            let (bytes, split) = joined.fill(baseline.iter().copied(), window.iter().copied());
            if meter.lengths(bytes, split).ncd() >= self.observed {
                self.exceeding += 1;
            }
            self.done += 1;
        }
        self.done - before
    }

    /// (1 + k) / (1 + n) of the permutations done so far; 1 before the first.
    pub fn p_value(&self) -> f64 {
        (1 + self.exceeding) as f64 / (1 + self.done) as f64
    }

    /// Permutations done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// A p the test is very unlikely to get below, however long it goes on.
    pub fn p_floor(&self) -> f64 {
        let exceeding = self.exceeding as f64;
        (exceeding - 2.0 * exceeding.sqrt()).max(0.0) / self.done.max(1) as f64
    }
}

/// The number of exceeding permutations that makes p ≥ `threshold` certain after `total`.
pub fn certain_at(threshold: f64, total: usize) -> usize {
    ((threshold * (1 + total) as f64).ceil() as usize).saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p_of(baseline: &[String], window: &[String], rounds: &[usize]) -> f64 {
        let (mut meter, mut joined) = (Meter::new().expect("zstd"), Joined::default());
        let lines = || baseline.iter().map(String::as_str);
        let tested = || window.iter().map(String::as_str);
        let (bytes, split) = joined.fill(lines(), tested());
        let observed = meter.lengths(bytes, split).ncd();
        let mut test = PermutationTest::new(lines(), tested(), observed, 7);
        for total in rounds {
            test.run(*total, usize::MAX, &mut meter, &mut joined);
        }
        test.p_value()
    }

    fn usual(range: std::ops::Range<usize>) -> Vec<String> {
        let verbs = ["GET", "PUT", "POST", "DELETE"];
        let paths = ["users", "orders", "carts", "items", "health"];
        let mut prng = Prng::new(2, 0);
        let all: Vec<String> = (0..range.end)
            .map(|_| format!("{} /{} <n>", verbs[prng.below(4)], paths[prng.below(5)]))
            .collect();
        all[range].to_vec()
    }

    #[test]
    fn a_foreign_window_is_unlikely_and_a_usual_one_is_not() {
        let baseline = usual(0..200);
        let quiet = usual(200..240);
        let mut burst = quiet[..25].to_vec();
        burst.extend((0..15).map(|i| {
            format!("panic in thread {} at frame {}", "xyz".repeat(i), "q".repeat(i * 3))
        }));
        assert!(p_of(&baseline, &quiet, &[200]) > 0.05);
        assert!(p_of(&baseline, &burst, &[200]) < 0.01);
    }

    #[test]
    fn continuing_equals_one_go() {
        let (baseline, window) = (usual(0..100), usual(100..120));
        assert_eq!(p_of(&baseline, &window, &[60]), p_of(&baseline, &window, &[10, 25, 60]));
    }

    #[test]
    fn the_stop_is_exactly_where_p_is_certain() {
        let stop = certain_at(0.05, 1_000);
        assert!((1 + stop) as f64 / 1_001.0 >= 0.05);
        assert!(stop as f64 / 1_001.0 < 0.05);
        assert_eq!(certain_at(0.0001, 100), 1);
    }
}
