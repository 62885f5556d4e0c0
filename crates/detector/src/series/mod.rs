//! Detection in series of numbers: bare ones, and each numeric field of objects.
//!
//! Text is masked, so what numbers do is judged here, by the same steps as lines of text are:
//!
//! 1. Every series ([`extract`]) gets windows, each after a baseline of four windows at least.
//! 2. A value is replaced by the error of predicting it from those before it ([`predict`]). A trend,
//!    a wave or a random walk is predictable, so its errors are alike everywhere: what is shuffled
//!    in a test has to be exchangeable, and values in a row are not.
//! 3. Errors become a few symbols ([`symbols`]), and a window's distance is how many more bits its
//!    symbols take with the baseline's code than with one of their own ([`code`]).
//! 4. A window that stands out more than the baseline's own parts do is permutation-tested
//!    ([`permute`]), and the false discovery rate controlled over all windows of all series.
//!
//! Invariant: as for text, every finding has an adjusted p below the p threshold and an NCD above
//! that of metrics. Pure and deterministic.

mod code;
mod explain;
mod extract;
mod findings;
mod permute;
mod predict;
mod screen;
mod symbols;

use crate::detect::Finding;
use crate::event::Event;
use crate::fdr;
use crate::permute::certain_at;
use crate::settings::Settings;

use screen::{Candidate, Screened};

/// Bounds the time of the fits: about two seconds on one core.
const FIT_WORK_MAX: usize = 2_000_000_000;
/// Bounds the time of the permutations: values drawn in about two seconds on one core.
const DRAWS_MAX: usize = 300_000_000;
/// Permutations for every one that may reach the distance of a window that just passes.
const PERMUTATIONS_PER_P: f64 = 10.0;
/// What a test of one window is continued to at most.
const PERMUTATIONS_MAX: usize = 1 << 18;

/// What the numbers of a request hold.
pub(crate) struct Found {
    /// In order, none overlapping.
    pub(crate) findings: Vec<Finding>,
    /// Whether fields or windows were left out.
    pub(crate) is_capped: bool,
}

/// Detects anomalies in the numbers of `events`.
pub(crate) fn find(events: &[Event], settings: &Settings) -> Found {
    let (all, mut is_capped) = extract::series(events);
    let (mut candidates, mut family, mut work) = (Vec::new(), 0, 0);
    for (number, series) in all.iter().enumerate() {
        work += screen::work(series.values.len(), settings);
        if work > FIT_WORK_MAX && number > 0 {
            is_capped = true;
            break;
        }
        let Screened { candidates: more, windows } = screen::screen(number, series, settings);
        candidates.extend(more);
        family += windows;
    }
    let mut peaks = findings::peaks(&candidates);
    let (adjusted, all_tested) = test(&mut peaks, family, settings);
    let passed = peaks.into_iter().zip(adjusted);
    let passed = passed.filter(|(_, p)| *p < settings.p_threshold()).collect();
    Found {
        findings: findings::findings(&all, &candidates, passed),
        is_capped: is_capped || !all_tested,
    }
}

/// The adjusted p of each peak, and whether the draws allowed sufficed for all.
///
/// After a first round, which most peaks do not survive, the rest get permutations enough to tell p
/// from what the adjustment asks of it. Stopping as soon as it looks good would favour luck.
fn test(peaks: &mut [Candidate], family: usize, settings: &Settings) -> (Vec<f64>, bool) {
    let threshold = settings.p_threshold();
    let enough = (PERMUTATIONS_PER_P * family as f64 / threshold).ceil() as usize;
    let rounds = [
        (settings.permutations, certain_at(threshold, settings.permutations)),
        (enough.clamp(settings.permutations, PERMUTATIONS_MAX), usize::MAX),
    ];
    let mut draws_left = DRAWS_MAX;
    for (total, stop) in rounds {
        for peak in peaks.iter_mut() {
            let test = &mut peak.test;
            if test.done() > 0 && test.p_value() >= threshold {
                continue;
            }
            let draws = (total - test.done()) * test.window();
            if draws_left < draws {
                return (adjusted(peaks, family), false);
            }
            draws_left -= test.run(total, stop) * test.window();
        }
    }
    (adjusted(peaks, family), true)
}

/// A test that never ran has p = 1.
fn adjusted(peaks: &[Candidate], family: usize) -> Vec<f64> {
    let p_values: Vec<f64> = peaks.iter().map(|one| one.test.p_value()).collect();
    fdr::adjust(&p_values, family)
}
