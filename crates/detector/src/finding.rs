//! From windows that differ to anomalies a person reads: which of overlapping windows stands for
//! them, what is merged, and which lines it comes down to.

use std::ops::Range;

use crate::detect::{Candidate, Finding, Metrics, gap};
use crate::event::Event;
use crate::explain;
use crate::severity::Severity;
use crate::vocabulary::Vocabulary;

/// The strongest candidates that do not overlap, strongest first. Strong is what holds more
/// foreign lines, then what lies further from its baseline, then what comes first.
pub(crate) fn peaks<'a>(candidates: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let mut order: Vec<&Candidate<'a>> = candidates.iter().collect();
    order.sort_by(|a, b| {
        let lines = b.foreign.len().cmp(&a.foreign.len());
        lines.then_with(|| b.ncd.total_cmp(&a.ncd))
    });
    let mut peaks: Vec<Candidate<'a>> = Vec::new();
    for one in order {
        if peaks.iter().all(|peak| !overlap(&peak.span.window, &one.span.window)) {
            peaks.push(one.clone());
        }
    }
    peaks
}

/// The findings of the peaks that passed, each with its adjusted p: in order, merged where their
/// lines touch.
pub(crate) fn findings(
    events: &[Event],
    vocabulary: &Vocabulary,
    candidates: &[Candidate<'_>],
    mut passed: Vec<(Candidate<'_>, f64)>,
) -> Vec<Finding> {
    passed.sort_by_key(|(peak, _)| peak.span.window.start);
    let mut groups: Vec<(Vec<usize>, (Candidate<'_>, f64))> = Vec::new();
    for (peak, adjusted) in passed {
        let gap = gap(peak.span.window.len());
        let lines = lines_of(&peak, candidates, gap);
        match groups.last_mut() {
            Some((merged, best)) if lines[0] <= merged[merged.len() - 1] + gap => {
                merged.extend(lines);
                merged.sort_unstable();
                merged.dedup();
                if adjusted < best.1 {
                    *best = (peak, adjusted);
                }
            }
            Some(_) | None => groups.push((lines, (peak, adjusted))),
        }
    }
    let finding = |(lines, (best, adjusted)): &(Vec<usize>, (Candidate<'_>, f64))| {
        let metrics = Metrics {
            ncd: best.ncd,
            p_value: best.test.p_value(),
            p_adjusted: *adjusted,
            permutations: best.test.done(),
            compression_ratio_change: best.ratio_change,
            entropy_change: best.entropy_change,
            confidence: 1.0 - adjusted,
        };
        Finding {
            events: lines[0]..lines[lines.len() - 1] + 1,
            metrics,
            severity: Severity::of(metrics.p_value, metrics.ncd),
            why: explain::why(events, vocabulary, lines, &best.span, &metrics),
        }
    };
    groups.iter().map(finding).collect()
}

/// The foreign lines of a peak and of the candidates that overlap it, without strays.
fn lines_of(peak: &Candidate<'_>, candidates: &[Candidate<'_>], gap: usize) -> Vec<usize> {
    let mut lines: Vec<usize> = candidates
        .iter()
        .filter(|one| overlap(&one.span.window, &peak.span.window))
        .flat_map(|one| one.foreign.iter().copied())
        .collect();
    lines.sort_unstable();
    lines.dedup();
    dense(&lines, gap)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Leaves out stray lines far from the bulk: runs with gaps above `gap` count separately, and
/// those under a third of the longest are dropped. Never empty for input that is not.
fn dense(lines: &[usize], gap: usize) -> Vec<usize> {
    let runs: Vec<&[usize]> = lines.chunk_by(|a, b| b - a <= gap).collect();
    let longest = runs.iter().map(|run| run.len()).max().unwrap_or(0);
    runs.into_iter().filter(|run| run.len() * 3 >= longest).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stray_lines_do_not_widen_a_finding() {
        assert_eq!(dense(&[3, 40, 41, 42, 43, 90], 10), [40, 41, 42, 43]);
        assert_eq!(dense(&[3], 10), [3]);
    }

    #[test]
    fn overlapping_is_sharing_an_event() {
        assert!(overlap(&(0..5), &(4..9)));
        assert!(!overlap(&(0..5), &(5..9)));
    }
}
