//! The permutation test: is the distance of a window from its baseline larger than chance explains?
//!
//! Baseline and window are pooled, shuffled and split again. p is the share of splits whose NCD is
//! at least the observed one, p = (1 + k) / (1 + n). A test keeps its random generator, so that it
//! can be continued later with the same result as without a pause.
//!
//! Both halves are compressed in sorted order, the observed ones too. A log has runs of similar
//! lines, which compress better than the same lines shuffled. In order of arrival every quiet
//! window would differ from its shuffles for that reason alone. In sorted order the distance
//! depends only on which lines the halves contain.

use crate::compress::{Lengths, Meter};
use crate::prng::Prng;

/// The documented seed: equal input gives equal output.
const SEED: u64 = 42;
/// The most bytes of an event that are compressed. The start of a line identifies it best, and the
/// time of a test grows with its bytes.
const LINE_BYTES_MAX: usize = 240;

/// Joins a split pool line by line into one reused buffer.
#[derive(Default)]
pub struct Joined {
    bytes: Vec<u8>,
    split: usize,
}

impl Joined {
    /// Writes the lines of `pool` outside the window, then those in it, each in the pool's order.
    fn fill(&mut self, pool: &[&str], in_window: &[bool]) {
        self.bytes.clear();
        self.append(pool, in_window, false);
        self.split = self.bytes.len();
        self.append(pool, in_window, true);
    }

    fn append(&mut self, pool: &[&str], in_window: &[bool], wanted: bool) {
        for (line, _) in pool.iter().zip(in_window).filter(|(_, within)| **within == wanted) {
            self.bytes.extend_from_slice(&line.as_bytes()[..line.len().min(LINE_BYTES_MAX)]);
            self.bytes.push(b'\n');
        }
    }

    fn lengths(&self, meter: &mut Meter) -> Lengths {
        meter.lengths(&self.bytes, self.split)
    }

    /// The bytes of the baseline and of the window that were measured last.
    pub fn halves(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.split)
    }
}

/// A permutation test that can be continued.
#[derive(Clone, Debug)]
pub struct PermutationTest<'a> {
    pool: Vec<&'a str>,
    in_window: Vec<bool>,
    order: Vec<usize>,
    window: usize,
    observed: Lengths,
    pass_bytes: usize,
    prng: Prng,
    exceeding: usize,
    done: usize,
}

impl<'a> PermutationTest<'a> {
    /// Measures `window` against `baseline`, both masked, and prepares the test. `stream` gives
    /// each window different shuffles. Afterwards `joined` contains the halves that were measured.
    pub fn new(
        baseline: impl Iterator<Item = &'a str>,
        window: impl Iterator<Item = &'a str>,
        stream: u64,
        meter: &mut Meter,
        joined: &mut Joined,
    ) -> Self {
        let mut lines: Vec<(&str, bool)> =
            baseline.map(|line| (line, false)).chain(window.map(|line| (line, true))).collect();
        lines.sort_unstable();
        let (pool, in_window): (Vec<&str>, Vec<bool>) = lines.into_iter().unzip();
        joined.fill(&pool, &in_window);
        Self {
            observed: joined.lengths(meter),
            // Every byte is compressed twice: in its half, and in both together.
            pass_bytes: joined.bytes.len() * 2,
            order: (0..pool.len()).collect(),
            window: in_window.iter().filter(|within| **within).count(),
            pool,
            in_window,
            prng: Prng::new(SEED, stream),
            exceeding: 0,
            done: 0,
        }
    }

    /// The compressed lengths of the window and its baseline as they are.
    pub fn observed(&self) -> Lengths {
        self.observed
    }

    /// Bytes that one permutation compresses.
    pub fn pass_bytes(&self) -> usize {
        self.pass_bytes
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
        let (before, observed) = (self.done, self.observed.unexplained());
        while self.done < total && self.exceeding < exceeding {
            self.choose();
            joined.fill(&self.pool, &self.in_window);
            if joined.lengths(meter).unexplained() >= observed {
                self.exceeding += 1;
            }
            self.done += 1;
        }
        self.done - before
    }

    /// Chooses another window from the pool, every one as likely (a partial Fisher–Yates).
    fn choose(&mut self) {
        self.in_window.fill(false);
        for place in 0..self.window {
            let other = place + self.prng.below(self.order.len() - place);
            self.order.swap(place, other);
            self.in_window[self.order[place]] = true;
        }
    }

    /// (1 + k) / (1 + n) of the permutations done so far; 1 before the first.
    pub fn p_value(&self) -> f64 {
        (1 + self.exceeding) as f64 / (1 + self.done) as f64
    }

    /// Permutations done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// A p-value that the test will very probably not fall below, however long it continues.
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
        let (lines, tested) =
            (baseline.iter().map(String::as_str), window.iter().map(String::as_str));
        let mut test = PermutationTest::new(lines, tested, 7, &mut meter, &mut joined);
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
