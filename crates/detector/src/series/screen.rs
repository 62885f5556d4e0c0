//! Selects the windows of a series that stand out.
//!
//! A window is a candidate if its distance from the baseline is larger than the distance of any
//! part of the baseline (of the same size) from the rest of it. So values that the baseline already
//! contains are not reported, as in text. This avoids findings where the prediction fits badly, so
//! that errors vary although nothing happens, and after an anomaly that is now in the baseline.

use std::ops::Range;

use super::extract::Series;
use super::permute::{self, Test, counts};
use super::{predict, symbols};
use crate::settings::{Kind, Settings};
use crate::windows::plan;

/// The baseline has at least the size of this many windows, so that it has parts to compare with.
const PARTS_MIN: usize = 4;
/// A series has at least this many windows; a short series gets smaller windows for that …
const WINDOWS_MIN: usize = 8;
/// … but none smaller than this.
const WINDOW_MIN: usize = 10;
/// A value belongs to the anomaly when its symbol occurs this many times as often as the baseline
/// lets expect …
const TELLING: f64 = 2.0;
/// … plus this many times: a rare symbol may occur twice by chance.
const TELLING_MORE: f64 = 2.0;

/// A candidate: a window that may be tested.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The number of the series.
    pub(super) series: usize,
    /// The values of the window and of the baseline before it.
    pub(super) window: Range<usize>,
    pub(super) baseline: Range<usize>,
    /// The values by which the window differs from the baseline; never empty.
    pub(super) telling: Vec<usize>,
    pub(super) test: Test,
}

/// The candidates of a series.
pub(super) struct Screened {
    pub(super) candidates: Vec<Candidate>,
    /// The number of windows that the false discovery rate is controlled over.
    pub(super) windows: usize,
}

/// About how many multiplications [`screen`] needs for a series of `length` values.
pub(super) fn work(length: usize, settings: &Settings) -> usize {
    spans(length, settings)
        .map(|(baseline, window)| predict::work(baseline.len() + window.len()))
        .sum()
}

/// Screens the windows of a series.
pub(super) fn screen(number: usize, series: &Series<'_>, settings: &Settings) -> Screened {
    let mut screened = Screened { candidates: Vec::new(), windows: 0 };
    for (baseline, window) in spans(series.values.len(), settings) {
        screened.windows += 1;
        let values = &series.values[baseline.start..window.end];
        let symbols = symbols::symbols(&predict::errors(values, baseline.len()));
        let split = symbols.len() - window.len();
        let stream = (number as u64) << 32 | window.start as u64;
        let test = Test::new(&symbols, split, stream);
        if test.ncd() <= settings.ncd_threshold_for(Kind::Metrics)
            || !stands_out(&symbols, split, &test)
        {
            continue;
        }
        let telling: Vec<usize> =
            telling(&symbols, split).into_iter().map(|at| window.start + at).collect();
        if !telling.is_empty() {
            screened.candidates.push(Candidate { series: number, window, baseline, telling, test });
        }
    }
    screened
}

/// The baselines and windows of a series: those planned for text whose baseline is long enough.
fn spans(length: usize, settings: &Settings) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let roomy = (length / WINDOWS_MIN).max(WINDOW_MIN);
    let window = settings.window.min(roomy).min(settings.baseline / PARTS_MIN);
    let settings = Settings { window, hop: settings.hop.min(window).max(1), ..*settings };
    plan(length, &settings)
        .spans
        .into_iter()
        .filter(move |span| span.baseline.len() >= PARTS_MIN * window)
        .map(|span| (span.baseline, span.window))
}

fn stands_out(symbols: &[u8], split: usize, test: &Test) -> bool {
    let size = symbols.len() - split;
    let baseline = &symbols[..split];
    let starts = (1..=split / size).map(|back| split - back * size);
    starts
        .map(|start| permute::distance(baseline, start..start + size))
        .all(|distance| distance < test.observed())
}

/// The places in the window of the symbols that are frequent there.
fn telling(symbols: &[u8], split: usize) -> Vec<usize> {
    let (baseline, window) = symbols.split_at(split);
    let (before, here) = (counts(baseline), counts(window));
    let per_value = window.len() as f64 / baseline.len() as f64;
    let tells = |symbol: u8| {
        let symbol = usize::from(symbol);
        let expected = f64::from(before[symbol]) * per_value;
        f64::from(here[symbol]) >= TELLING * expected + TELLING_MORE
    };
    (0..window.len()).filter(|at| tells(window[*at])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    fn noise(length: usize) -> Vec<f64> {
        let mut prng = Prng::new(6, 0);
        (0..length).map(|_| (prng.below(1_000) + prng.below(1_000)) as f64).collect()
    }

    fn screened(values: Vec<f64>) -> Vec<Candidate> {
        let places = (0..values.len()).collect();
        let series = Series { name: "", values, places };
        screen(0, &series, &Settings::default()).candidates
    }

    #[test]
    fn every_window_has_a_baseline_of_parts_and_the_last_value_is_covered() {
        for length in [60, 115, 400, 1_003] {
            for baseline in [50, 400] {
                let settings = Settings { baseline, ..Settings::default() };
                let spans: Vec<_> = spans(length, &settings).collect();
                assert_eq!(spans.last().map(|(_, window)| window.end), Some(length));
                for (baseline, window) in spans {
                    assert!(baseline.len() >= PARTS_MIN * window.len() && !window.is_empty());
                }
            }
        }
        assert_eq!(spans(30, &Settings::default()).count(), 0);
    }

    #[test]
    fn what_a_burst_adds_is_telling_and_what_the_baseline_holds_is_no_news() {
        let mut once = noise(600);
        once[450..465].iter_mut().for_each(|value| *value += 9_000.0);
        let candidates = screened(once.clone());
        let best = candidates.iter().max_by(|a, b| a.test.observed().total_cmp(&b.test.observed()));
        assert_eq!(best.map(|one| one.telling.clone()), Some((450..465).collect()));

        once[300..350].iter_mut().for_each(|value| *value += 9_000.0);
        let again = screened(once);
        assert!(again.iter().all(|one| !one.window.contains(&457)), "{again:?}");
    }

    #[test]
    fn a_constant_has_no_candidates() {
        assert!(screened(vec![3.0; 600]).is_empty());
    }
}
