//! Makes findings for people from windows of series that stand out.

use std::ops::Range;

use super::explain;
use super::extract::Series;
use super::screen::Candidate;
use crate::detect::{Finding, Metrics, gap};
use crate::finding::{dense, overlap, together};
use crate::severity::Severity;

/// The strongest candidates of each series that do not overlap, strongest first.
pub(super) fn peaks(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by(|a, b| b.test.observed().total_cmp(&a.test.observed()));
    let mut peaks: Vec<Candidate> = Vec::new();
    for one in order {
        if peaks.iter().all(|peak| !touch(peak, one)) {
            peaks.push(one.clone());
        }
    }
    peaks
}

fn touch(a: &Candidate, b: &Candidate) -> bool {
    a.series == b.series && overlap(&a.window, &b.window)
}

/// A finding's values in its series, and the window whose measurements it has.
struct Part {
    values: Range<usize>,
    best: Candidate,
    adjusted: f64,
}

/// The findings of the peaks that passed, each with its adjusted p: merged where they touch, and
/// where different fields change at once.
pub(super) fn findings(
    all: &[Series<'_>],
    candidates: &[Candidate],
    mut passed: Vec<(Candidate, f64)>,
) -> Vec<Finding> {
    passed.sort_by_key(|(peak, _)| (peak.series, peak.window.start));
    let mut parts: Vec<Part> = Vec::new();
    for (best, adjusted) in passed {
        let gap = gap(best.window.len());
        let values = values(&best, candidates, gap);
        match parts.last_mut() {
            Some(last)
                if last.best.series == best.series && values.start <= last.values.end + gap =>
            {
                last.values.end = last.values.end.max(values.end);
                if adjusted < last.adjusted {
                    (last.best, last.adjusted) = (best, adjusted);
                }
            }
            Some(_) | None => parts.push(Part { values, best, adjusted }),
        }
    }
    together(parts.iter().map(|part| finding(&all[part.best.series], part)).collect())
}

/// The range from the first to the last telling value of a peak and the candidates that overlap it.
fn values(peak: &Candidate, candidates: &[Candidate], gap: usize) -> Range<usize> {
    let overlapping = candidates.iter().filter(|one| touch(one, peak));
    let mut telling: Vec<usize> = overlapping.flat_map(|one| one.telling.iter().copied()).collect();
    telling.sort_unstable();
    telling.dedup();
    let telling = dense(&telling, gap);
    telling[0]..telling[telling.len() - 1] + 1
}

fn finding(series: &Series<'_>, part: &Part) -> Finding {
    let test = &part.best.test;
    let metrics = Metrics {
        ncd: test.ncd(),
        p_value: test.p_value(),
        p_adjusted: part.adjusted,
        permutations: test.done(),
        compression_ratio_change: test.ratio_change(),
        entropy_change: test.entropy_change(),
        confidence: 1.0 - part.adjusted,
    };
    let baseline = part.best.baseline.start..part.best.baseline.end.min(part.values.start);
    Finding {
        events: series.places[part.values.start]..series.places[part.values.end - 1] + 1,
        metrics,
        severity: Severity::of(metrics.p_value, metrics.ncd),
        why: explain::why(series, baseline, part.values.clone(), &metrics),
    }
}
